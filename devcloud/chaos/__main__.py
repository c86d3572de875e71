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

"""Tests a fleet of workers on a real cloud in which failures happen.

Workers are killed, halted past their leases and replaced; connections to both
regions are cut, stalled, slowed, and bits flipped on the way; both Glances
answer with errors, or with incomplete data; Keystone and the database stop and
start again; users cancel. At the end an independent checker verifies that each
job has ended, that each copy is the source byte for byte, that nothing else is
at the destination, that no job was lost, and, from a log that the database
keeps, that no two workers wrote one job at once.

With --calm nothing fails, all images are small, and the resources of the
workers are watched: memory, threads, file descriptors and connections to the
database must not grow.

The seed determines what happens. Everything runs on 127.0.0.1.
"""

import argparse
import secrets
import signal
import sys
import time
import unittest

from devcloud.chaos import plan
from devcloud.chaos import run
from devcloud.chaos import stores

JOBS_PER_MINUTE = 50  # which two cores can do despite the failures
SOAKED = 2000  # jobs of a soak
ASKED_PER_SECOND = 4  # of them, about as many as two cores can do
SMALL = 1 << 14  # bytes of each of its images


def say(words: str) -> None:
    """Print a progress message."""
    print(f"{time.strftime('%H:%M:%S')} {words}", flush=True)


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="tox -e chaos --",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--minutes", type=float, default=2, help="of trouble; default: 2"
    )
    parser.add_argument("--seed", help="default: a new one, which is told")
    parser.add_argument("--database", choices=stores.STORES, default="sqlite")
    parser.add_argument(
        "--jobs",
        type=int,
        help=f"default: {JOBS_PER_MINUTE} for each minute; {SOAKED} if it is "
        "calm",
    )
    parser.add_argument("--workers", type=int, default=4, help="default: 4")
    parser.add_argument(
        "--calm", action="store_true", help="a soak: let nothing go wrong"
    )
    parser.add_argument(
        "--keep", action="store_true", help="keep logs and data"
    )
    return parser.parse_args()


def make_plan(seed: str, options: argparse.Namespace) -> plan.Plan:
    """Return the plan for the options."""
    if options.calm:
        jobs = options.jobs or SOAKED
        return plan.make(
            seed,
            seconds=jobs / ASKED_PER_SECOND,
            jobs=jobs,
            workers=options.workers,
            tenants=20,
            size=SMALL,
            trouble=False,
        )
    return plan.make(
        seed,
        seconds=60 * options.minutes,
        jobs=options.jobs or round(JOBS_PER_MINUTE * options.minutes),
        workers=options.workers,
    )


def main() -> int:
    """Carry out a run.

    :returns: the process's exit status: 1 when a check failed.
    """
    # SIGTERM ends the run cleanly, as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    options = arguments()
    seed = options.seed or secrets.token_hex(4)
    say(f"Seed {seed}, on {options.database}.")
    todo = make_plan(seed, options)
    try:
        with run.Run(
            todo, options.database, keep_directory=options.keep, report=say
        ) as started:
            verdict = started.carry_out()
    except unittest.SkipTest as missing:
        print(missing, file=sys.stderr)
        return 1
    print(verdict)
    return 1 if verdict.violations else 0


if __name__ == "__main__":
    sys.exit(main())
