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

"""The API as its own service: ``image_replicator.wsgi:application``.

``OS_IMAGE_REPLICATOR_CONFIG_DIR`` names the directory of
image-replicator.conf and image-replicator-paste.ini, when it is not
/etc/image-replicator.
"""

import os
import pathlib
from typing import Any
from typing import Final

from paste import deploy

from image_replicator import exception
from image_replicator.conf import loading

CONFIG_DIR_VARIABLE: Final = "OS_IMAGE_REPLICATOR_CONFIG_DIR"
PASTE_FILE: Final = "image-replicator-paste.ini"


def init_application() -> Any:
    """Build the pipeline of image-replicator-paste.ini.

    :raises SystemExit: if the configuration is wrong.
    """
    default = pathlib.Path(loading.DEFAULT_CONFIG_FILE)
    directory = pathlib.Path(
        os.environ.get(CONFIG_DIR_VARIABLE, default.parent)
    ).absolute()
    config_file = directory / default.name
    try:
        loading.setup_logging(loading.load(config_file=str(config_file)))
    except exception.ConfigurationError as error:
        raise SystemExit(f"image-replicator: {config_file}: {error}") from None
    return deploy.loadapp(
        f"config:{directory / PASTE_FILE}",
        name="main",
        # Both our factory and auth_token's read it.
        global_conf={
            "config_file": str(config_file),
            "oslo_config_file": str(config_file),
            "oslo_config_project": loading.PROJECT,
        },
    )


application = init_application()
