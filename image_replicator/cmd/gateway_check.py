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

"""The check of ``image-replicator-status`` that the gateways answer."""

from collections.abc import Iterator
from http import HTTPStatus

from keystoneauth1 import exceptions as ksa_exc
from oslo_config import cfg
from oslo_upgradecheck import upgradecheck

from image_replicator import identity
from image_replicator.gateway import application
from image_replicator.images import clients


def result(
    conf: cfg.ConfigOpts, keystone: identity.Identity
) -> upgradecheck.Result:
    """Return the result of the check.

    A gateway that is away is a warning, as copies go on without it.

    :param conf: of the image replicator, checked.
    """
    try:
        gateways = dict(_gateways(conf, keystone))
    except ksa_exc.ClientException as error:
        return upgradecheck.Result(
            upgradecheck.Code.SUCCESS,
            f"Not known, as Keystone does not serve us: {error}",
        )
    problems = [
        f"The gateway of {region}, {url}, {problem}."
        for region, url in gateways.items()
        if (problem := _problem(keystone, url))
    ]
    if problems:
        return upgradecheck.Result(
            upgradecheck.Code.WARNING, " ".join(problems)
        )
    return upgradecheck.Result(upgradecheck.Code.SUCCESS)


def _gateways(
    conf: cfg.ConfigOpts, keystone: identity.Identity
) -> Iterator[tuple[str, str]]:
    """Yield the regions that have a gateway, and its URL.

    :raises keystoneauth1.exceptions.ClientException: if Keystone returns no
        catalogue.
    """
    catalogue = keystone.catalogue
    for region in sorted(catalogue.image_regions()):
        if url := clients.gateway_url(conf, catalogue, region):
            yield region, url


def _problem(keystone: identity.Identity, url: str) -> str | None:
    """Return what is wrong with a gateway; None if it answers."""
    try:
        reply = keystone.session.get(
            url + application.HEALTH,
            authenticated=False,
            raise_exc=False,
            redirect=False,
        )
    except ksa_exc.ClientException as error:
        return f"does not answer: {error}"
    if reply.status_code != HTTPStatus.OK:
        return f"answers {reply.status_code}"
    return None
