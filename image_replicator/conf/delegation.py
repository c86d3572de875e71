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

"""The options of ``[delegation]``: with whose rights copies are made."""

from typing import Final

from oslo_config import cfg

from image_replicator.conf import types

GROUP: Final = "delegation"

_MONTH: Final = 30 * types.DAY

OPTS: Final = [
    cfg.Opt(
        "sealing_keys",
        type=types.NotBlank(),
        sample_default="$state_path/sealing-keys with SQLite, else none",
        help="""
Directory of the keys that seal users' tokens, made and rotated by
``image-replicator-manage delegation rotate``. Application credentials and
trusts cannot make trusts of their own, so copies that are asked for with them
need such a token until they are done. Every API and worker reads this
directory, and all must have the same keys. Without it, requests with such
tokens are refused.
""",
    ),
    cfg.IntOpt(
        "max_active_keys",
        default=3,
        min=2,
        help="""
How many sealing keys ``delegation rotate`` keeps: the staged one, the primary
one and older ones, which still open what they sealed. Raise it when keys are
rotated more often than jobs end.
""",
    ),
    cfg.IntOpt(
        "keep",
        default=int(types.DAY),
        min=0,
        help="""
Seconds for which a trust is kept after the last job that was created with it,
for the next one. Then it is removed, with the user's next token, as only the
user may remove it. Lower it when users' lists of trusts should be short.
""",
    ),
    cfg.IntOpt(
        "trust_lifetime",
        default=int(_MONTH),
        min=3600,
        help="""
Seconds after which a trust expires in Keystone, whatever becomes of it. A
trust is used for new jobs in the first half of its life only, so each job has
at least the second half of it. Raise it when jobs wait for longer than that.
""",
    ),
    cfg.StrOpt(
        "cleanup",
        default="none",
        choices=[
            ("none", "leave it, and say so"),
            ("service", "remove it with our own right"),
        ],
        help="""
What becomes of an unfinished image when the right of the user to remove it is
gone. With ``service``, the user of ``[service_auth]`` needs the right to see
and delete images of all projects. It removes only an image whose id a job
committed, that has our mark, and that names no encryption key. With ``none``,
``image-replicator-manage image orphans`` lists it.
""",
    ),
    cfg.StrOpt(
        "legacy",
        default="error",
        choices=[
            ("error", "the job ends in error, and can be retried"),
            ("service", "the copy is made with our own right"),
        ],
        help="""
What becomes of a job that was created by a release before this option, and so
has no right of a user. With ``service``, the user of ``[service_auth]`` needs
the role ``admin``; set it for the time of a rolling upgrade only.
""",
    ),
]
