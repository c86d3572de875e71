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

"""The users of a run: they ask for copies of images, and cancel some."""

import collections
import concurrent.futures
import io
import threading
import time
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import Final

import requests
from keystoneauth1 import exceptions as ks_exceptions

from devcloud import cloud
from devcloud.chaos import outcome
from devcloud.chaos import plan

#: Projects whose members ask for copies.
_ASKING: Final = plan.USERS
_AT_ONCE: Final = 6  # requests
_TIMEOUT: Final = 15.0  # seconds for one answer
_PATIENCE: Final = 90.0  # seconds for an answer that is clear
_PAUSE: Final = 0.3  # seconds before asking again


class Users:
    """All users, and the answers that they got.

    :ivar asks: the copies that were asked for
    :ivar errors: answers that no user should get
    """

    def __init__(self, running: cloud.Cloud, todo: plan.Plan) -> None:
        self._cloud = running
        self._plan = todo
        self._lock = threading.Lock()
        self._answers: collections.Counter[str] = collections.Counter()
        self._stopped = threading.Event()
        self.asks: list[outcome.Ask] = []
        self.errors: list[str] = []
        self._settle_in()
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            self.sources = list(pool.map(self._upload, range(len(todo.sizes))))

    @property
    def answers(self) -> Mapping[str, int]:
        """The number of answers by kind."""
        with self._lock:
            return dict(self._answers)

    def _settle_in(self) -> None:
        self._tenants = [
            self._cloud.create_project(f"to-{number}", tags=["region:ot2"])
            for number in range(self._plan.tenants)
        ]
        destinations = {
            f"to-{number}": "member" for number in range(self._plan.tenants)
        }
        for number in range(_ASKING):
            self._cloud.create_project(f"from-{number}")
            self._cloud.create_user(
                f"user-{number}", {f"from-{number}": "member", **destinations}
            )

    def _upload(self, number: int) -> outcome.Source:
        who = number % _ASKING
        source = outcome.Source(
            image_id="",
            name=f"image {number}",
            tenant_id=self._cloud.project_id(f"from-{who}"),
            seed=f"{self._plan.seed} image {number}",
            size=self._plan.sizes[number],
        )
        images = self._cloud.images("ot1", f"user-{who}", f"from-{who}")
        for _attempt in range(10):
            # A Glance on SQLite answers some writes with a 500.
            try:
                made = images.create(
                    io.BytesIO(source.data()), name=source.name
                )
            except ks_exceptions.ClientException:
                time.sleep(_PAUSE)
            else:
                return outcome.Source(
                    **{**vars(source), "image_id": made["id"]}
                )
        raise RuntimeError(f"{source.name} could not be uploaded")

    # The users' requests.

    def run(self, wishes: Sequence[plan.Wish]) -> None:
        """Ask for each copy at its time, and wait for clear answers."""
        begin = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(_AT_ONCE) as pool:
            asking = []
            for wish in wishes:
                left = begin + wish.at - time.monotonic()
                if self._stopped.wait(max(0.0, left)):
                    break
                asking.append(pool.submit(self._fulfil, wish))
            for each in asking:
                each.result()

    def stop(self) -> None:
        """Stop asking."""
        self._stopped.set()

    def _fulfil(self, wish: plan.Wish) -> None:
        asks = [
            outcome.Ask(self.sources[wish.source], self._tenants[tenant])
            for tenant in wish.tenants
        ]
        with self._lock:
            self.asks += asks
        who = wish.source % _ASKING
        self._ask(asks, who, *_order(asks, plan.is_of_1_2(wish.source)))
        first = asks[0]
        if wish.cancel_after is not None and first.job_id:
            self._stopped.wait(wish.cancel_after)
            self._cancel(first, who)

    def _ask(
        self,
        asks: Sequence[outcome.Ask],
        who: int,
        body: Mapping[str, Any],
        headers: Mapping[str, str],
    ) -> None:
        """Ask for copies until it is clear that there are jobs."""
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline and not self._stopped.is_set():
            answer = self._send(who, "POST", "/jobs", body, headers)
            if answer is None or answer.status_code >= 500:
                for ask in asks:
                    ask.unclear += 1
            elif answer.status_code == 202:
                told = answer.json()
                for ask, job in zip(
                    asks, told.get("jobs", [told]), strict=True
                ):
                    ask.job_id = job["job_id"]
                return
            elif "already under way" in answer.text and asks[0].unclear:
                # One of the unclear requests has created the job.
                return
            self._stopped.wait(_PAUSE)
        self._complain(f"nobody would copy {[ask.copy for ask in asks]}")

    def _cancel(self, ask: outcome.Ask, who: int) -> None:
        """Cancel a job until it is clear that it is canceled or over."""
        ask.canceled = True
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline and not self._stopped.is_set():
            answer = self._send(who, "DELETE", f"/jobs/{ask.job_id}")
            if answer is not None and answer.status_code in (204, 409):
                return
            self._stopped.wait(_PAUSE)
        self._complain(f"nobody would cancel job {ask.job_id}")

    def _send(
        self,
        who: int,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> requests.Response | None:
        """Send a request; return the answer, None if there is none."""
        try:
            answer = self._cloud.jobs_client(
                "ot1", f"user-{who}", f"from-{who}"
            ).request(
                path,
                method,
                json=body,
                headers={"Accept": "application/json", **(headers or {})},
                timeout=_TIMEOUT,
            )
        except ks_exceptions.ClientException as error:
            self._count(f"{method} {type(error).__name__}")
            return None
        self._count(f"{method} {answer.status_code}")
        if answer.status_code == 500:
            self._complain(f"{method} {path} gave {answer.text[:500]}")
        return answer

    def _count(self, answer: str) -> None:
        with self._lock:
            self._answers[answer] += 1

    def _complain(self, error: str) -> None:
        with self._lock:
            self.errors.append(error)


def _order(
    asks: Sequence[outcome.Ask], is_of_1_2: bool
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the body and the headers of a request for copies."""
    image_id = asks[0].source.image_id
    tenants = [ask.tenant_id for ask in asks]
    if not is_of_1_2:
        (tenant,) = tenants
        return {"image_id": image_id, "tenant_id_dst": tenant}, {}
    body = {
        "image_id": image_id,
        "destinations": [{"tenant_id": tenant} for tenant in tenants],
        "priority": "background",
    }
    headers = {
        "OpenStack-API-Version": "image-replicator 1.2",
        "Idempotency-Key": f"{image_id}-{tenants[0]}",
    }
    return body, headers
