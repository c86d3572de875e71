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

"""The command line of the demonstration."""

import argparse
import pathlib
from collections.abc import Sequence

from devcloud import demo


def existing_file(text: str) -> pathlib.Path:
    """Parse the path of a readable file."""
    path = pathlib.Path(text)
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"{text} is not a file")
    return path


def parse(
    arguments: Sequence[str] | None, description: str | None
) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--image",
        type=existing_file,
        metavar="FILE",
        help="the image to copy; otherwise a qcow2 image is made",
    )
    parser.add_argument(
        "--disk-format",
        metavar="FORMAT",
        help="the format of FILE; otherwise it is found out",
    )
    parser.add_argument(
        "--size",
        type=int,
        default=256,
        metavar="MIB",
        help="size of the image that is made, in MiB (default: %(default)s)",
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=900.0,
        metavar="SECONDS",
        help="how long the copy may take (default: %(default)g)",
    )
    parser.add_argument(
        "--keep",
        action="store_true",
        help="leave the cloud up until Ctrl-C, and say how to use it",
    )
    add_port_arguments(parser)
    return parser.parse_args(arguments)


def add_port_arguments(parser: argparse.ArgumentParser) -> None:
    """Add an option for each port of the cloud."""
    defaults = {"keystone": 5000, demo.SOURCE: 9292, demo.DESTINATION: 9393}
    for service, port in defaults.items():
        parser.add_argument(
            f"--{service}-port",
            type=int,
            default=port,
            metavar="PORT",
            help=f"port of {service}; 0 takes a free one "
            "(default: %(default)s)",
        )
