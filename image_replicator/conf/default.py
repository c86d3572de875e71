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

"""The options that the API, the worker and the commands share."""

from typing import Final

from oslo_config import cfg

from image_replicator.conf import types

GROUP: Final = "DEFAULT"

OPTS: Final = [
    cfg.Opt(
        "region_id",
        type=types.REGION,
        help="""
The region of the Glance API that the extension is loaded into, as it is
named in Keystone's catalogue. Images are copied out of this region. The API
does not start without it; the worker does not need it.
""",
    ),
    cfg.Opt(
        "default_destination_region",
        type=types.REGION,
        help="""
The region that a copy goes to when the destination project has no
``region:NAME`` tag in Keystone. Set it in clouds of more than two regions.
When neither says, and exactly one other region offers an image service, the
copy goes there; otherwise the request is refused.
""",
    ),
    cfg.Opt(
        "state_path",
        type=types.NotBlank(),
        default="/var/lib/image-replicator",
        help="""
Directory of the SQLite database, when ``[database] connection`` is left at
its default. It is made when only its last part is missing. Glance's user and
the worker's must both be able to write there. Change it when they are not
allowed to write in ``/var/lib``.
""",
    ),
]
