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

"""Carries out the failures of the plan."""

import signal
import time
from collections.abc import Callable
from collections.abc import Mapping
from typing import Final

from devcloud import cloud
from devcloud import faults
from devcloud import gateway
from devcloud import proxy
from devcloud.chaos import fleet
from devcloud.chaos import plan
from devcloud.chaos import rights
from devcloud.chaos import stores

_SIGNALS: Final = {
    plan.Act.HALT_KEYSTONE: signal.SIGSTOP,
    plan.Act.RESUME_KEYSTONE: signal.SIGCONT,
    plan.Act.HALT_GATEWAY: signal.SIGSTOP,
    plan.Act.RESUME_GATEWAY: signal.SIGCONT,
}


class Trouble:
    """The failures of a run.

    :param relays: the proxies before the regions' Glances
    :param harm: the faults of these proxies
    :param rights: of the users
    :param near: the gateway of the source region
    :param report: called with a sentence on each step
    """

    def __init__(
        self,
        workers: fleet.Fleet,
        running: cloud.Cloud,
        store: stores.Store,
        relays: Mapping[str, proxy.Proxy],
        harm: Mapping[str, faults.Faults],
        rights: rights.Rights,
        near: gateway.Gateway,
        report: Callable[[str], None],
    ) -> None:
        self._workers = workers
        self._cloud = running
        self._store = store
        self._relays = relays
        self._harm = harm
        self._rights = rights
        self._gateway = near
        self._report = report

    def run(self, todo: plan.Plan) -> None:
        """Carry out all steps until the plan's end, then end all failures."""
        begin = time.monotonic()
        for harm in self._harm.values():
            harm.odds = {} if todo.calm else plan.ODDS
        try:
            for step in todo.steps:
                time.sleep(max(0.0, begin + step.at - time.monotonic()))
                self._report(f"{step.at:6.1f} s: {step.act} {step.subject}")
                self._do(step)
            time.sleep(max(0.0, begin + todo.seconds - time.monotonic()))
        finally:
            self.make_good()

    def make_good(self) -> None:
        """End all failures that still last."""
        for harm in self._harm.values():
            harm.odds = {}
        for relay in self._relays.values():
            relay.refuse(False)
        self._cloud.signal_keystone(signal.SIGCONT)
        self._gateway.signal(signal.SIGCONT)
        for place in range(len(self._workers.workers)):
            self._workers.resume(place)
        self._store.end_outage()
        self._rights.give_all()

    def _do(self, step: plan.Step) -> None:
        act, subject = step.act, step.subject
        match act:
            case plan.Act.KILL_WORKER:
                self._workers.kill(int(subject))
            case plan.Act.END_WORKER:
                self._workers.end(int(subject))
            case plan.Act.HALT_WORKER:
                self._workers.halt(int(subject))
            case plan.Act.RESUME_WORKER:
                self._workers.resume(int(subject))
            case plan.Act.HALT_KEYSTONE | plan.Act.RESUME_KEYSTONE:
                self._cloud.signal_keystone(_SIGNALS[act])
            case plan.Act.HALT_GATEWAY | plan.Act.RESUME_GATEWAY:
                self._gateway.signal(_SIGNALS[act])
            case plan.Act.KILL_GATEWAY:
                self._gateway.kill()
                self._gateway.start()
            case plan.Act.TAKE_RIGHT | plan.Act.GIVE_RIGHT:
                self._move_right(act, subject)
            case plan.Act.BEGIN_OUTAGE | plan.Act.END_OUTAGE:
                self._move_database(act, subject)
            case _:
                self._harm_network(act, self._relays[subject])

    def _move_database(self, act: plan.Act, subject: str) -> None:
        if act is plan.Act.BEGIN_OUTAGE:
            self._store.begin_outage(subject)
        else:
            self._store.end_outage()

    def _move_right(self, act: plan.Act, subject: str) -> None:
        # A Keystone that is halted would answer only after a later step.
        self._cloud.signal_keystone(signal.SIGCONT)
        if act is plan.Act.TAKE_RIGHT:
            self._rights.take(subject)
        else:
            self._rights.give(subject)

    def _harm_network(self, act: plan.Act, relay: proxy.Proxy) -> None:
        if act is not plan.Act.CUT_REGION:
            relay.refuse(act is plan.Act.CLOSE_REGION)
        if act is not plan.Act.OPEN_REGION:
            relay.cut()
