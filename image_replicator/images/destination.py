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

"""The image service of a destination, as the caller of the API may see it.

It is asked before a copy is queued for what it would refuse. What it does not
say is not known, and refuses nothing: the copy itself shows it.
"""

import json
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from typing import Final

from oslo_log import log as logging
from oslo_utils import units

from image_replicator import exception
from image_replicator import images
from image_replicator import jobs
from image_replicator.images import caller
from image_replicator.images import present

LOG = logging.getLogger(__name__)

#: The most bytes of an answer. A schema has some ten KiB.
_MAX_ANSWER: Final = 4 * 1024 * 1024

_FORMATS: Final = ("container_format", "disk_format")

#: The names of Glance's limits. See
#: https://docs.openstack.org/glance/latest/admin/quotas.html
_COUNT: Final = "image_count_total"
_SIZE: Final = "image_size_total"

#: The usage and the limit of each kind, as Glance shows them.
Usage = Mapping[str, Mapping[str, int]]

_REFUSED: Final = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})


class Asked:
    """The questions of one request to a region's image service.

    A request may have many destinations in one region. It waits only once for
    an image service that does not answer, and asks once for what is the same
    for all tenants.
    """

    def __init__(self) -> None:
        self._silence: exception.ServiceUnavailable | None = None
        self._schema: Any = None
        self._has_schema = False

    def ask(self, ask: caller.Ask, path: str, max_body: int) -> caller.Reply:
        """Ask, unless the image service did not answer before.

        :raises ServiceUnavailable: if it does not answer.
        """
        if self._silence:
            raise self._silence
        try:
            return ask(path, {}, max_body)
        except exception.ServiceUnavailable as error:
            self._silence = error
            raise

    def schema(self, ask: Callable[[], Any]) -> Any:
        """Return the schema of images; it is asked for once."""
        if not self._has_schema:
            self._schema, self._has_schema = ask(), True
        return self._schema


class DestinationImages:
    """The images of a tenant in a region.

    :param ask: sends requests to the image service as the caller.
    :param tenant_id: the destination tenant.
    :param region: of the image service.
    :param asked: what the request has asked it already.
    """

    def __init__(
        self,
        ask: caller.Ask,
        tenant_id: str,
        region: str,
        asked: Asked | None = None,
    ) -> None:
        self._ask = ask
        self._tenant_id = tenant_id
        self._region = region
        self._asked = asked or Asked()

    def check_formats(self, image: images.Image) -> None:
        """Check that the image service takes images of these formats.

        :raises Conflict: if it says that it does not.
        """
        schema = self._asked.schema(lambda: self._known("/v2/schemas/image"))
        for key in _FORMATS:
            value = image.get(key)
            try:
                allowed = schema["properties"][key]["enum"]
            except (LookupError, TypeError):
                continue
            if isinstance(allowed, list) and value not in allowed:
                raise exception.Conflict(
                    f"The image service of region {self._region} takes no "
                    f"image whose {key} is {value}."
                )

    def usage(self) -> Usage | None:
        """Return what the tenant uses of its limits, in Glance's units.

        :returns: None if the image service does not say.
        """
        shown = self._known("/v2/info/usage")
        try:
            return {
                name: {
                    "limit": int(each["limit"]),
                    "usage": int(each["usage"]),
                }
                for name, each in shown["usage"].items()
            }
        except (LookupError, TypeError, ValueError, AttributeError):
            return None

    def check_usage(self, image: images.Image, usage: Usage | None) -> None:
        """Check that the tenant may have one more image.

        Glance counts whole MiB, rounded down.

        :raises LimitExceeded: if it may not.
        """
        for name, more in ((_COUNT, 1), (_SIZE, image["size"] // units.Mi)):
            known = (usage or {}).get(name)
            if known is None or known["limit"] < 0:
                continue
            if known["usage"] + more > known["limit"]:
                raise exception.LimitExceeded(
                    "The destination tenant's limit in region "
                    f"{self._region} does not allow the copy: {name} is "
                    f"{known['limit']}, {known['usage']} are used, and the "
                    f"copy needs {more}."
                )

    def find_present(
        self,
        image: images.Image,
        name: str | None,
        is_unfinished: Callable[[Iterable[str]], bool],
    ) -> jobs.Present | None:
        """Return the tenant's image with the source's data, if it has one.

        :param image: the source image.
        :param name: that it must have; None for any.
        :param is_unfinished: tells it from the image's tags.
        :raises Forbidden: if the caller may not list the images.
        :raises ServiceUnavailable: if the image service does not answer.
        """
        path = present.path(image, self._tenant_id)
        if path is None:
            return None
        reply = self._asked.ask(self._ask, path, _MAX_ANSWER)
        if reply.status in _REFUSED:
            raise exception.Forbidden(
                "You may not list the destination tenant's images, so it "
                "cannot be known whether the image is there already."
            )
        listed = _parsed(reply)
        if not isinstance(listed, dict) or not isinstance(
            listed.get("images"), list
        ):
            LOG.error(
                "The image service of %s lists no images: %d",
                self._region,
                reply.status,
            )
            raise exception.ServiceUnavailable(
                f"The image service of region {self._region} does not answer "
                "as it should; try again later."
            )
        return present.find(
            listed["images"], image, self._tenant_id, name, is_unfinished
        )

    def _known(self, path: str) -> Any:
        """Return the JSON of an answer; None if there is none."""
        try:
            return _parsed(self._asked.ask(self._ask, path, _MAX_ANSWER))
        except exception.RequestError as error:
            LOG.info("%s of %s: %s", path, self._region, error.message)
            return None


def _parsed(reply: caller.Reply) -> Any:
    if reply.status != HTTPStatus.OK:
        return None
    try:
        return json.loads(reply.body)
    except (ValueError, RecursionError):
        return None
