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

"""The options of the gateway."""

from typing import Final

from oslo_config import cfg
from oslo_utils import units

from image_replicator.conf import types

GROUP: Final = "gateway"

OPTS: Final = [
    cfg.URIOpt(
        "image_endpoint",
        schemes=["http", "https"],
        default="http://127.0.0.1:9292",
        help="""
The image service that the gateway reads from, which is near it. Users' tokens
are sent there, and nowhere else.
""",
    ),
    cfg.Opt(
        "image_cafile",
        type=types.NotBlank(),
        help="""
File of the CA certificates with which ``image_endpoint`` is trusted. Without
it the usual ones are used.
""",
    ),
    cfg.HostAddressOpt(
        "bind_host",
        default="127.0.0.1",
        help="""
Address that the gateway listens on. Set it to one that the workers of other
regions reach.
""",
    ),
    cfg.PortOpt(
        "bind_port",
        default=9293,
        help="""
Port that the gateway listens on. Change it where another service has it.
""",
    ),
    cfg.Opt(
        "cert_file",
        type=types.NotBlank(),
        help="""
File of the certificate, and of those that it is signed with, for HTTPS.
Without it the gateway speaks HTTP; users' tokens then cross the network as
they are.
""",
    ),
    cfg.Opt(
        "key_file",
        type=types.NotBlank(),
        help="""
File of the certificate's private key. Set it where ``cert_file`` does not have
the key as well.
""",
    ),
    cfg.IntOpt(
        "window_size",
        default=64 * units.Mi,
        min=8 * units.Mi,
        help="""
Bytes of one image that the gateway has in memory. It must be more than the
workers' ``[transfer] window_size``, as they ask for bytes so far apart.
""",
    ),
    cfg.IntOpt(
        "buffer_size",
        default=units.Gi,
        min=8 * units.Mi,
        help="""
Bytes of all images together that the gateway has in memory. It reads as many
images at a time as have a window in it; workers read further ones from the
image service itself.
""",
    ),
    cfg.BoolOpt(
        "compress",
        default=True,
        help="""
Whether pieces are compressed for workers that ask for it. Pieces that do not
shrink are sent as they are. Set it to false where the machine is short of
processors.
""",
    ),
    cfg.IntOpt(
        "threads",
        default=128,
        min=2,
        max=4096,
        help="""
How many requests are answered at the same time. Raise it where many workers
read from this gateway, as each stream of a copy takes one.
""",
    ),
    cfg.IntOpt(
        "max_requests_per_client",
        default=96,
        min=1,
        help="""
How many requests of one address are answered at the same time. A copy makes
up to ``[transfer] max_streams``. Keep it below ``threads``, so that no client
takes all of them.
""",
    ),
    cfg.FloatOpt(
        "client_timeout",
        default=20.0,
        min=0.5,
        max=types.DAY,
        help="""
Seconds in which a client must send its request, and take each 256 KiB of the
answer. A slower one is cut off.
""",
    ),
    cfg.FloatOpt(
        "connect_timeout",
        default=5.0,
        min=0.1,
        max=types.DAY,
        help="""
Seconds that connecting to the image service may take. Raise it where the
image service is slow to accept connections.
""",
    ),
    cfg.FloatOpt(
        "read_timeout",
        default=60.0,
        min=0.1,
        max=types.DAY,
        help="""
Seconds that the image service's next byte may take. Raise it where its store
is slow to begin.
""",
    ),
    cfg.FloatOpt(
        "idle_timeout",
        default=30.0,
        min=0.1,
        max=types.DAY,
        help="""
Seconds after which the gateway ends a reading that nobody asks for any more.
Lower it where memory is short.
""",
    ),
    cfg.FloatOpt(
        "token_check_interval",
        default=10.0,
        min=0.0,
        max=types.DAY,
        help="""
Seconds after which the image service judges a token again, while an image is
read with it. Lower it where a user whose right was taken away must not get
another byte.
""",
    ),
]
