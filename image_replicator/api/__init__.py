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

"""Paste factories: the API as a filter in Glance, or as its own service.

Paste calls a factory while the process starts. The factory reads and checks
the configuration. It opens no connection and starts no thread, as Glance's
server forks afterwards.
"""

from collections.abc import Callable
from collections.abc import Mapping
from typing import Any
from typing import TypeVar

from oslo_config import cfg
from oslo_log import log as logging

from image_replicator import context as ir_context
from image_replicator import events
from image_replicator import exception
from image_replicator import identity
from image_replicator import policy
from image_replicator.api import delegation
from image_replicator.api import links
from image_replicator.api import resource
from image_replicator.api import router
from image_replicator.api.controllers import jobs as jobs_controller
from image_replicator.api.controllers import versions as versions_controller
from image_replicator.conf import loading
from image_replicator.db import stores
from image_replicator.images import caller

LOG = logging.getLogger(__name__)

WSGIApplication = Callable[[dict[str, Any], Any], Any]
Built = TypeVar("Built")


class Extension:
    """Serves the paths below its base path; Glance serves all others.

    :param app: the rest of Glance's pipeline.
    """

    def __init__(
        self, app: WSGIApplication, extension: WSGIApplication
    ) -> None:
        self._app = app
        self._extension = extension

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        if router.is_ours(environ.get("PATH_INFO", "")):
            return self._extension(environ, start_response)
        return self._app(environ, start_response)


def filter_factory(
    global_conf: Mapping[str, str], **local_conf: str
) -> Callable[[WSGIApplication], Extension]:
    """Build the filter that goes into Glance's api-paste.ini.

    :param local_conf: ``config_file``, the path of image-replicator.conf.
    :raises SystemExit: if the configuration is wrong; the message names the
        option.
    """
    return lambda app: _start(
        lambda conf: wrap(app, conf), {**global_conf, **local_conf}
    )


def app_factory(
    global_conf: Mapping[str, str], **local_conf: str
) -> WSGIApplication:
    """Build the application that runs as its own service, behind auth_token.

    Parameters and errors are those of :func:`filter_factory`.
    """
    return _start(stand_alone, {**global_conf, **local_conf})


def wrap(app: WSGIApplication, conf: cfg.ConfigOpts) -> Extension:
    """Return the filter around Glance; it asks that Glance for images."""

    def ask_factory(
        environ: Mapping[str, Any], context: ir_context.RequestContext
    ) -> caller.Ask:
        return caller.ask_wrapped(app, environ, context)

    return Extension(
        app, _resource(conf, identity.Identity(conf), ask_factory)
    )


def stand_alone(conf: cfg.ConfigOpts) -> WSGIApplication:
    """Return the application without Glance; it asks Glance over HTTP."""
    keystone = identity.Identity(conf)

    def ask_factory(
        environ: Mapping[str, Any], context: ir_context.RequestContext
    ) -> caller.Ask:
        return caller.ask_remote(
            keystone.session,
            keystone.catalogue,
            conf.region_id,
            context,
        )

    return _resource(conf, keystone, ask_factory)


def _resource(
    conf: cfg.ConfigOpts,
    keystone: identity.Identity,
    ask_factory: resource.AskFactory,
) -> resource.Resource:
    if not conf.region_id:
        raise exception.ConfigurationError("[DEFAULT] region_id: not set")
    enforcer = policy.Enforcer(conf)
    opened = stores.open_stores(conf, events.Events())
    taken = delegation.Delegations(
        conf, keystone, opened.delegations, opened.key_holders
    )
    link_maker = links.Links(conf, keystone.session)
    controllers: dict[str, resource.Controller] = {
        "jobs": jobs_controller.JobsController(
            conf, opened, enforcer, keystone, taken, link_maker
        ),
        "versions": versions_controller.VersionsController(link_maker),
    }
    return resource.Resource(controllers, enforcer, ask_factory)


def _start(
    build: Callable[[cfg.ConfigOpts], Built], settings: Mapping[str, str]
) -> Built:
    """Build from the configuration file; exit with a message on an error."""
    config_file = settings.get("config_file", loading.DEFAULT_CONFIG_FILE)
    try:
        return build(loading.load(config_file=config_file))
    except exception.ConfigurationError as error:
        LOG.critical("%s: %s", config_file, error)
        raise SystemExit(f"image-replicator: {config_file}: {error}") from None
