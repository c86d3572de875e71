# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

"""The options of one copy."""

from typing import Final

from oslo_config import cfg
from oslo_utils import units

from image_replicator.conf import types

GROUP: Final = "transfer"

OPTS: Final = [
    cfg.IntOpt(
        "bandwidth_limit",
        default=0,
        min=0,
        help="""
Bytes per second that one copy sends; 0 for no limit. Set it where one copy
must not fill a link.
""",
    ),
    cfg.IntOpt(
        "min_streams",
        default=1,
        min=1,
        max=256,
        help="""
Streams that an image is read with at least. The number finds itself between
this and ``max_streams``; set both to the same to have a fixed one.
""",
    ),
    cfg.IntOpt(
        "max_streams",
        default=32,
        min=1,
        max=256,
        help="""
Streams that an image is read with at most. Lower it when copies from far away
keep the source's image service from its other work.
""",
    ),
    cfg.IntOpt(
        "window_size",
        default=44 * units.Mi,
        min=units.Mi,
        help="""
Bytes of one image that streams may read ahead of the upload, in memory; less
while several copies share ``[worker] buffer_size``, and 24 MiB at most where
the first byte of a piece comes within 0.1 seconds. Raise it for links so long
and fat that copies do not fill them.
""",
    ),
    cfg.IntOpt(
        "chunk_size",
        default=128 * 1024,
        min=16 * 1024,
        max=64 * units.Mi,
        help="""
Bytes that are read from the source at a time. There is hardly a reason to
change it.
""",
    ),
    cfg.FloatOpt(
        "connect_timeout",
        default=30.0,
        min=0.1,
        max=types.DAY,
        help="""
Seconds that connecting to an image service may take, and that one chunk may
take to be sent. Raise it when copies to regions that are far away or under
load fail for want of a connection.
""",
    ),
    cfg.FloatOpt(
        "read_timeout",
        default=60.0,
        min=0.1,
        max=types.DAY,
        help="""
Seconds without a byte after which a connection to the source is given up, and
reading is taken up again over another. Raise it when the source's store takes
long before it sends the first one, as one that fetches from tape does.
""",
    ),
    cfg.IntOpt(
        "min_rate",
        default=10 * 1024,
        min=0,
        help="""
Bytes per second that a source must send while a copy waits for it; 0 for
none. A copy from a slower source fails, and is tried again. The time for
which the destination, or a limit of bandwidth, holds a copy back does not
count. Lower it where links are slower than that.
""",
    ),
    cfg.FloatOpt(
        "min_rate_period",
        default=300.0,
        min=1.0,
        max=types.DAY,
        help="""
Seconds of waiting for the source over which ``min_rate`` is measured; twice
``read_timeout`` where that is more. Raise it when copies should wait for a
source that is slow for longer.
""",
    ),
    cfg.FloatOpt(
        "upload_response_timeout",
        default=900.0,
        min=1.0,
        max=types.DAY,
        help="""
Seconds that the destination may take to answer after it was sent the last
byte. Some stores work for minutes before they do; raise it when copies of
large images fail at their very end.
""",
    ),
    cfg.BoolOpt(
        "nearest_source",
        default=True,
        help="""
Whether a copy may read its bytes from a verified copy of the same data that is
nearer to its destination than the source image. Turn it off to read each copy
from its source image.
""",
    ),
    cfg.FloatOpt(
        "nearest_source_wait",
        default=3600.0,
        min=0.0,
        max=types.DAY,
        help="""
Seconds that a job may wait for others that carry the same image to the same
region, to read from their copies; 0 to let no job wait. It waits only while
that is likely to be sooner than a copy from the source. Lower it when jobs
wait for longer than their users like.
""",
    ),
    cfg.ListOpt(
        "dropped_properties",
        default=[],
        help="""
Image properties that are not copied, beside those that never are. Each is a
name or a shell pattern of names, such as ``hw_vif_*``. Set it for properties
that mean nothing, or something else, in another region.
""",
    ),
    cfg.StrOpt(
        "signature_properties",
        default="keep",
        choices=[
            ("keep", "copy them; the destination must have the certificate"),
            ("drop", "copy the image without its signature"),
            ("refuse", "do not copy signed images"),
        ],
        help="""
What to do with the ``img_signature*`` properties of a signed image. They
name a certificate that the destination's key manager must hold to verify
the signature. Change it when the regions do not share their certificates.
""",
    ),
]
