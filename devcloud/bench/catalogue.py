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

"""Changes the URL of an image endpoint in Keystone's catalogue."""

import contextlib
from collections.abc import Iterator

from devcloud import cloud


def _endpoint(running: cloud.Cloud, region: str) -> tuple[str, str]:
    """Return the id and URL of a region's internal image endpoint."""
    session = running.session("admin", "admin")
    url = f"{running.auth_url}/services?type=image"
    (service,) = session.get(url).json()["services"]
    url = (
        f"{running.auth_url}/endpoints?interface=internal"
        f"&region_id={region}&service_id={service['id']}"
    )
    (endpoint,) = session.get(url).json()["endpoints"]
    return endpoint["id"], endpoint["url"]


def _forget_tokens(running: cloud.Cloud) -> None:
    """Make the services get new tokens.

    A Glance keeps the catalogue that came with a token as long as the token.
    """
    for project in ("source", "destination"):
        running.session("alice", project).invalidate()


@contextlib.contextmanager
def moved(running: cloud.Cloud, region: str, url: str) -> Iterator[None]:
    """Change the URL of a region's internal endpoint, which workers use.

    Workers that already run keep the catalogue that they have.
    """
    endpoint_id, original = _endpoint(running, region)
    running.identity.move_endpoint(endpoint_id, url)
    _forget_tokens(running)
    try:
        yield
    finally:
        running.identity.move_endpoint(endpoint_id, original)
        _forget_tokens(running)
