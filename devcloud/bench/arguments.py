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

"""The command line of the benchmark."""

import argparse
from collections.abc import Collection
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from devcloud.bench import copies

#: Options that have another default in a short run: their long and their
#: short default.
_SIZES: Mapping[str, tuple[Any, Any]] = {
    "pairs": (5, 2),
    "lan_sizes": ([1024, 4096], [64]),
    "wan_size": (1024, 32),
    "wan_other_size": (256, 16),
    "disk_size": (4096, 64),
    "round_trips": ([20, 80, 200], [80]),
    "streams": ([4, 8, 16, 32], [1, 16]),
    "first_size": (1024, 64),
    "first_far_size": (256, 16),
    "https_size": (1024, 64),
    "many": (16, 8),
    "many_size": (256, 16),
    "small": (1000, 40),
    "requests": (500, 100),
    "jobs": ([1000, 1_000_000], [1000, 16_000]),
    "claims": (2000, 200),
    "workers": ([1, 2, 4, 8], [1, 4]),
}

#: The highest rate that the relay can carry on two cores with two busy
#: Glances, with a margin; see --help and "the link" of the results.
_LINK_RATE = 1000  # Mbit/s


def _numbers(text: str) -> list[int]:
    """Parse whole numbers with commas between them."""
    return [int(word) for word in text.split(",")]


def _add_sizes(parser: argparse.ArgumentParser) -> None:
    told = {
        "pairs": "turns that everything compared takes",
        "lan_sizes": "MiB of the images of lan",
        "wan_size": "MiB of the image of wan, over the round trip of the aims",
        "wan_other_size": "the same over the others, as curl takes long",
        "disk_size": "MiB of the raw disk of gateway",
        "round_trips": "ms of wan",
        "streams": "numbers of streams of wan",
        "first_size": "MiB of the image of first, within a LAN",
        "first_far_size": "the same over a link",
        "https_size": "MiB of the image of https",
        "many": "copies at once of many",
        "many_size": "MiB of each of them",
        "small": "images of 1 MiB of small",
        "requests": "of each kind and turn of api, a fifth of them to create",
        "jobs": "in the database of api",
        "claims": "of each turn of fleet",
        "workers": "numbers of workers of fleet",
    }
    for name, words in told.items():
        long, short = _SIZES[name]
        several = isinstance(long, list)
        defaults = [
            ",".join(map(str, one)) if several else str(one)
            for one in (long, short)
        ]
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            type=_numbers if several else int,
            metavar="N,N" if several else "N",
            help=f"{words} ({defaults[0]}; short: {defaults[1]})",
        )


def _parser(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tox -e bench --",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help="default: all, in order"
    )
    parser.add_argument(
        "--short", action="store_true", help="small sizes, few turns"
    )
    _add_sizes(parser)
    parser.add_argument(
        "--rate",
        type=int,
        default=80,
        metavar="N",
        help="Mbit/s of one connection of wan (%(default)s)",
    )
    parser.add_argument(
        "--link-rate",
        type=int,
        default=_LINK_RATE,
        metavar="N",
        help="Mbit/s of all connections of wan (%(default)s)",
    )
    parser.add_argument(
        "--cut-after",
        type=int,
        metavar="MIB",
        help="mean MiB after which wan cuts a connection (an eighth of the "
        "image)",
    )
    return parser


def parse(
    arguments: Sequence[str] | None, parts: Collection[str], description: str
) -> argparse.Namespace:
    """Return the options of the command line.

    :param parts: the parts that can be chosen
    :returns: with ``largest_image`` as well: the most bytes of images that a
        part keeps at the source at once
    """
    parser = _parser(description)
    options = parser.parse_args(arguments)
    for part in options.parts:
        if part not in parts:
            parser.error(f"no such part: {part}; {', '.join(parts)}")
    _complete(options, parts)
    for name in ("streams", "workers"):
        if len(getattr(options, name)) < 2:
            parser.error(f"--{name}: two numbers at least, to compare")
    return options


def _complete(options: argparse.Namespace, parts: Collection[str]) -> None:
    """Set the options that depend on other options."""
    options.parts = list(dict.fromkeys(options.parts or parts))
    for name, defaults in _SIZES.items():
        if getattr(options, name) is None:
            setattr(options, name, defaults[options.short])
    if options.cut_after is None:
        options.cut_after = max(1, options.wan_size // 8)
    sizes = {
        "lan": max(options.lan_sizes),
        "wan": options.wan_size + options.wan_other_size,
        "gateway": max(options.wan_size, options.disk_size),
        "kept": options.wan_size,
        "fanout": 3 * options.wan_size,
        "first": max(options.first_size, options.first_far_size),
        "https": options.https_size,
        "many": options.many * options.many_size,
        "small": options.small,
    }
    chosen = [size for part, size in sizes.items() if part in options.parts]
    options.largest_image = max(chosen, default=1) * copies.MIB
