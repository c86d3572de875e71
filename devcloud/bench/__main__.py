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

"""Measures the image replicator on a real cloud, each figure as a ratio.

parts:
  lan    copies of large images, nothing in the way
  wan    copies over a link with a round trip, capped rates, and cut
         connections; and by number of streams
  gateway  copies over a link from a store without ranges
  kept   copies over a link from behind a proxy that keeps connections
  fanout  one image to many tenants over a link
  first  the first copy after a start of everything, and the next one
  start  where the time before the first byte of a copy goes
  https  copies with TLS at both ends
  many   copies at once
  small  many small images
  api    requests, with few and with many jobs, on each database
  fleet  claims of one to some workers, on each database

What is compared takes turns in one run, and the ratio is taken turn by turn.
All of it stays on 127.0.0.1. The results go to bench/.
"""

import argparse
import logging
import signal
import sys
import time
import types
import unittest
from collections.abc import Callable
from collections.abc import Sequence

from keystoneauth1 import exceptions as ks_exceptions

import devcloud
from devcloud import process
from devcloud.bench import api
from devcloud.bench import arguments
from devcloud.bench import curl
from devcloud.bench import fanout
from devcloud.bench import first
from devcloud.bench import fleet
from devcloud.bench import gateway
from devcloud.bench import https
from devcloud.bench import kept
from devcloud.bench import lan
from devcloud.bench import machine
from devcloud.bench import many
from devcloud.bench import measure
from devcloud.bench import plots
from devcloud.bench import report
from devcloud.bench import stage
from devcloud.bench import start
from devcloud.bench import wan

PARTS: dict[str, Callable[[stage.Stage], None]] = {
    "lan": lan.run,
    "wan": wan.run,
    "gateway": gateway.run,
    "kept": kept.run,
    "fanout": fanout.run,
    "first": first.run,
    "start": start.run,
    "https": https.run,
    "many": many.run_large,
    "small": many.run_small,
    "api": api.run,
    "fleet": fleet.run,
}

FAILURES = (
    stage.BenchError,
    curl.CurlFailed,
    process.ProcessError,
    ks_exceptions.ClientException,
    # A program that is not installed.
    unittest.SkipTest,
)

_OUTPUT = devcloud.ROOT / "bench"
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def say(words: str) -> None:
    """Print a progress message."""
    print(f"{time.strftime('%H:%M:%S')} {words}", flush=True)


def _interrupt(number: int, frame: types.FrameType | None) -> None:
    """Treat a signal as Ctrl-C; ignore further ones during the clean-up."""
    for each in _SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt


def _measure(options: argparse.Namespace, cases: list[measure.Case]) -> bool:
    """Run the chosen parts; return whether all of them succeeded.

    :param cases: the list to which their results are added
    """
    failed = []

    def begin(case: measure.Case) -> None:
        # The results are written after each case, so a crash does not lose
        # hours.
        if cases:
            _write(options, cases)
        cases.append(case)

    with stage.built(options, begin, say) as ready:
        for part in options.parts:
            try:
                PARTS[part](ready)
            except FAILURES as error:
                # The other parts can still be measured.
                say(f"{part} FAILED: {error}")
                failed.append(part)
    return not failed


def _write(options: argparse.Namespace, cases: Sequence[measure.Case]) -> str:
    """Write the results of the cases so far; return the table of them."""
    measured = [case for case in cases if case.series]
    described = machine.describe()
    if options.short:
        described["sizes"] = "of a short run, too small for the aims"
    table = report.table(described, measured)
    _OUTPUT.mkdir(exist_ok=True)
    (_OUTPUT / "results.txt").write_text(table)
    (_OUTPUT / "results.json").write_text(
        report.as_json(described, vars(options), measured)
    )
    return table


def _show(options: argparse.Namespace, cases: Sequence[measure.Case]) -> None:
    """Write the results and plots of all cases, and show the table."""
    print(_write(options, cases))
    try:
        plots.draw([case for case in cases if case.series], _OUTPUT)
    except ImportError:
        say("No plots: matplotlib is not installed.")
    say(f"All of it is in {_OUTPUT}.")


def main(words: Sequence[str] | None = None) -> int:
    """Run the chosen parts, and report what they measured.

    :returns: the exit status: 0, 1 when a part failed, or 130 when it was
        interrupted
    """
    options = arguments.parse(words, PARTS, __doc__ or "")
    for number in _SIGNALS:
        signal.signal(number, _interrupt)
    # urllib3 warns if more requests run at once than it keeps connections.
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
    cases: list[measure.Case] = []
    try:
        status = 0 if _measure(options, cases) else 1
    except KeyboardInterrupt:
        say("Interrupted; all is stopped.")
        status = 130
    if any(case.series for case in cases):
        _show(options, cases)
    return status


if __name__ == "__main__":
    sys.exit(main())
