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

"""Requests to Keystone: the region of a copy, and the caller's roles there."""

import contextlib
import datetime
import enum
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any
from typing import Final
from typing import NamedTuple

import requests
from keystoneauth1 import access
from keystoneauth1 import adapter
from keystoneauth1 import exceptions as ksa_exc
from keystoneauth1 import session as ksa_session
from keystoneauth1.identity import v3
from oslo_config import cfg
from oslo_log import log as logging

from image_replicator import catalogue
from image_replicator import context as ir_context
from image_replicator import credentials
from image_replicator import exception

LOG = logging.getLogger(__name__)

_REGION_TAG: Final = "region:"

#: Seconds for a request that the caller does not need.
_PATIENCE: Final = 3.0

_TRUSTS: Final = "/OS-TRUST/trusts"
_TRUST_TIME: Final = "%Y-%m-%dT%H:%M:%S.%fZ"


class RegionReason(enum.StrEnum):
    """The reason for which a copy goes to a region."""

    #: The caller asks for it.
    REQUESTED = "requested"
    #: The destination project has a tag with it.
    PROJECT_TAG = "project_tag"
    #: It is the operator's default.
    DEFAULT = "default"
    #: No other region but the source's has an image service.
    ONLY_OTHER = "only_other"


class DestinationRegion(NamedTuple):
    """The region that a copy goes to, and why."""

    name: str
    reason: RegionReason


class Identity:
    """Asks Keystone for regions, projects' tags and callers' roles.

    :param conf: has ``[service_auth]`` and the default destination region.
    :raises ConfigurationError: if the credentials cannot be used.
    """

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        self.session = credentials.service_session(conf)
        self.catalogue = catalogue.Catalogue(
            self.session, conf.service_auth.valid_interfaces
        )
        self._auth: Any = self.session.auth
        self._keystone = adapter.Adapter(
            self.session,
            service_type="identity",
            interface=conf.service_auth.valid_interfaces,
            region_name=conf.service_auth.region_name,
            # Keystone's endpoint in the catalogue may have no version.
            version="3",
            raise_exc=True,
        )
        self._default_region: str | None = conf.default_destination_region
        self._source_is_checked = False

    def access(self) -> access.AccessInfo:
        """Return our token, with Keystone's description of it.

        :raises keystoneauth1.exceptions.ClientException: if it returns none.
        """
        ours: access.AccessInfo = self._auth.get_access(self.session)
        return ours

    def endpoint(self) -> str:
        """Return Keystone's URL, for requests about projects' tags.

        :raises keystoneauth1.exceptions.ClientException: if the catalogue
            has none.
        """
        url = self._keystone.get_endpoint()
        if url is None:
            raise ksa_exc.EndpointNotFound(
                "the catalogue has no identity service of version 3 at the "
                "configured interfaces and region"
            )
        return url

    def image_regions(self) -> frozenset[str]:
        """Return the regions that have an image service in our catalogue.

        :raises ServiceUnavailable: if Keystone does not answer.
        """
        with _keystone_answers():
            return self.catalogue.image_regions()

    def destination_region(
        self,
        context: ir_context.RequestContext,
        source_region: str,
        wanted: str | None = None,
    ) -> DestinationRegion:
        """Return the destination region of a copy to a project.

        It is the first of these that is known: the region that the caller asks
        for, the project's ``region:NAME`` tag, the operator's default, the
        only other region.

        :param context: the caller's, in the destination project.
        :param wanted: the region that the caller asks for, if any.
        :raises Conflict: if none of these is known, or the region has no image
            service.
        :raises ServiceUnavailable: if Keystone does not answer.
        """
        region = self._first_known(context, source_region, wanted)
        with _keystone_answers():
            self._check_source(source_region)
            if not self.catalogue.has_images(region.name):
                raise exception.Conflict(
                    f"The region {region.name} offers no image service."
                )
        return region

    def _first_known(
        self,
        context: ir_context.RequestContext,
        source_region: str,
        wanted: str | None,
    ) -> DestinationRegion:
        """Return the first region that is known, in the order above."""
        if wanted:
            return DestinationRegion(wanted, RegionReason.REQUESTED)
        if tagged := self._tagged_region(context):
            return DestinationRegion(tagged, RegionReason.PROJECT_TAG)
        if self._default_region:
            return DestinationRegion(
                self._default_region, RegionReason.DEFAULT
            )
        return DestinationRegion(
            self._only_other_region(source_region), RegionReason.ONLY_OTHER
        )

    def _check_source(self, region: str) -> None:
        """Log once if the catalogue does not have our own region.

        This cannot be checked at the start, as Keystone is not asked then.
        Workers may use another interface, so the request is not refused.
        """
        if self._source_is_checked:
            return
        self._source_is_checked = True
        if not self.catalogue.has_images(region):
            LOG.error(
                "[DEFAULT] region_id: Keystone's catalogue has no image "
                "service in region %s at the interfaces of [service_auth]; "
                "workers may be unable to read images there",
                region,
            )

    def _only_other_region(self, source_region: str) -> str:
        """Return the only region besides the source with an image service.

        :raises Conflict: if there is none, or more than one.
        """
        others = self.image_regions() - {source_region}
        if not others:
            with _keystone_answers():
                self.catalogue.look_again()
            others = self.image_regions() - {source_region}
        if len(others) != 1:
            raise exception.Conflict(
                "No destination region is known: the destination tenant has "
                "no region tag, no default is configured, and "
                f"{len(others)} other regions offer an image service."
            )
        (region,) = others
        return region

    def _tagged_region(self, context: ir_context.RequestContext) -> str | None:
        with _keystone_answers():
            regions = [
                tag.removeprefix(_REGION_TAG)
                for tag in self._tags(context)
                if tag.startswith(_REGION_TAG)
            ]
        if len(regions) > 1:
            raise exception.Conflict(
                "The destination tenant has more than one region tag."
            )
        return regions[0] if regions else None

    def _tags(self, context: ir_context.RequestContext) -> list[str]:
        """Return the tags of the caller's project, which the caller may read.

        :raises keystoneauth1.exceptions.ClientException: if Keystone does not
            return them.
        """
        reply = self._as_caller(
            context, "GET", f"/projects/{context.project_id}/tags"
        )
        try:
            return [str(tag) for tag in reply.json()["tags"]]
        except (ValueError, LookupError, TypeError) as error:
            # The answer may be a web page.
            raise ksa_exc.InvalidResponse(reply) from error

    def _as_caller(
        self,
        context: ir_context.RequestContext | None,
        method: str,
        path: str,
        **kwargs: Any,
    ) -> requests.Response:
        """Send a request to Keystone with the caller's token.

        :param context: the caller; None for our own token.
        :raises keystoneauth1.exceptions.ClientException: if it fails.
        """
        if context:
            kwargs["authenticated"] = False
            kwargs["headers"] = {"X-Auth-Token": context.auth_token}
            if context.restricted:
                # Access rules say what the caller may send. Keystone does not
                # apply them to what a service sends for the caller.
                ours = self.access().auth_token
                kwargs["headers"]["X-Service-Token"] = ours
        return self.session.request(
            self.endpoint().rstrip("/") + path, method, **kwargs
        )

    def make_trust(
        self,
        context: ir_context.RequestContext,
        project_id: str,
        roles: Sequence[str],
        expires_at: datetime.datetime,
    ) -> str | None:
        """Let the caller make a trust for our user.

        :param context: has the token that makes it, of any project.
        :param roles: names of roles that the trust gives.
        :param expires_at: naive UTC.
        :returns: the trust's id; None if the token cannot make it.
        :raises ServiceUnavailable: if Keystone does not answer.
        """
        with _keystone_answers():
            trust = {
                "trustor_user_id": context.user_id,
                "trustee_user_id": self.access().user_id,
                "project_id": project_id,
                "impersonation": False,
                "roles": [{"name": name} for name in roles],
                "expires_at": expires_at.strftime(_TRUST_TIME),
            }
            try:
                reply = self._as_caller(
                    context, "POST", _TRUSTS, json={"trust": trust}
                )
            except (
                ksa_exc.Forbidden,
                ksa_exc.NotFound,
                ksa_exc.Unauthorized,
            ) as error:
                # Roles that a federated user has by a mapping alone are
                # "not found".
                LOG.info("Keystone makes no trust for this token: %s", error)
                return None
            try:
                return str(reply.json()["trust"]["id"])
            except (ValueError, LookupError, TypeError) as error:
                raise ksa_exc.InvalidResponse(reply) from error

    def remove_trust(
        self, context: ir_context.RequestContext | None, trust_id: str
    ) -> None:
        """Remove a trust; nothing happens if there is none.

        :param context: the user who made it; None if we are to remove it.
        :raises keystoneauth1.exceptions.ClientException: if it stays.
        """
        with contextlib.suppress(ksa_exc.NotFound):
            self._as_caller(
                context,
                "DELETE",
                f"{_TRUSTS}/{trust_id}",
                # The caller waits, and does not need this.
                timeout=_PATIENCE,
            )

    def caller_in_project(
        self, project_id: str, context: ir_context.RequestContext
    ) -> ir_context.RequestContext:
        """Return the caller's context in a project, with the roles there.

        If it is not the token's own project, the caller's token is rescoped to
        it, so the caller gets no rights beyond those of the token.

        :raises NotFound: if the caller has no such project.
        :raises Forbidden: if the caller's token may not be rescoped.
        :raises ServiceUnavailable: if Keystone does not answer.
        """
        if project_id == context.project_id:
            return context
        if context.restricted:
            raise _not_rescoped()
        auth = v3.Token(
            self._auth.auth_url,
            context.auth_token or "",
            project_id=project_id,
            reauthenticate=False,
            include_catalog=False,
        )
        with _keystone_answers():
            rescoped = _rescoped(auth, self.session, project_id)
        return ir_context.RequestContext(
            auth_token=rescoped.auth_token,
            user_id=rescoped.user_id,
            project_id=rescoped.project_id,
            roles=list(rescoped.role_names or ()),
            request_id=context.request_id,
            overwrite=False,
        )


def _rescoped(
    auth: v3.Token, session: ksa_session.Session, project_id: str
) -> access.AccessInfo:
    """Return the token rescoped to a project, or raise why there is none."""
    try:
        return auth.get_access(session)
    except (ksa_exc.Unauthorized, ksa_exc.NotFound) as error:
        raise exception.NotFound(
            f"No destination tenant with ID {project_id} could be found."
        ) from error
    except ksa_exc.Forbidden as error:
        raise _not_rescoped() from error


def _not_rescoped() -> exception.Forbidden:
    return exception.Forbidden(
        "This token cannot act in the destination tenant: an application "
        "credential or a trust is good for one project only. Use a token "
        "that was got with a password."
    )


@contextlib.contextmanager
def _keystone_answers() -> Iterator[None]:
    """Raise ServiceUnavailable for each failure of Keystone."""
    try:
        yield
    except ksa_exc.ClientException as error:
        LOG.error("Keystone does not serve us: %s", error)
        raise exception.ServiceUnavailable(
            "The identity service does not answer; try again later."
        ) from error
