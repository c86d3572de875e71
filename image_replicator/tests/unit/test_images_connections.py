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

"""Requests that another thread breaks off."""

import threading
import time
from concurrent import futures
from typing import Any

import fixtures
import testtools
from keystoneauth1 import exceptions as ksa_exc
from keystoneauth1 import session as ksa_session

from image_replicator import exception
from image_replicator.errors import ErrorCode
from image_replicator.images import connections
from image_replicator.images import download
from image_replicator.tests.unit import glances

ID = "0f5c9d4e-3a8a-4d0e-8a1e-0d6a4f3f2b10"
MEBIBYTE = bytes(1 << 20)


class TestConnections(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.glance = self.useFixture(glances.FakeGlance())
        self.glance.add(ID, b"data")
        self.shared = glances.new_session(ot2=self.glance)
        self.connections = connections.Connections(self.shared)
        self.addCleanup(self.connections.close)
        self.reached = threading.Event()
        self.done = threading.Event()
        self.addCleanup(self.done.set)

    def _hold(self, handler: glances.Handler) -> None:
        self.reached.set()
        self.done.wait(30)

    def _path(self, suffix: str = "") -> str:
        return f"{self.glance.url}/v2/images/{ID}{suffix}"

    def _assert_broken_off(self, method: str, url: str, **kw: Any) -> None:
        with futures.ThreadPoolExecutor(1) as pool:
            asking = pool.submit(
                self.connections.session.request, url, method, **kw
            )
            self.assertTrue(self.reached.wait(10))
            begin = time.monotonic()
            self.connections.break_off()
            error = asking.exception(10)
        self.assertLess(time.monotonic() - begin, 5)
        self.assertIsInstance(error, connections.BrokenOff)

    def test_requests_are_answered(self) -> None:
        reply = self.connections.session.get(self._path())
        self.assertEqual(ID, reply.json()["id"])

    def test_the_credentials_are_the_shared_ones(self) -> None:
        self.connections.session.get(self._path())
        (request,) = self.glance.requests
        self.assertEqual(
            self.shared.get_token(), request.headers["X-Auth-Token"]
        )

    def test_the_settings_are_the_shared_ones(self) -> None:
        shared = ksa_session.Session(
            verify="/ca.pem", cert=("/a", "/b"), timeout=7
        )
        own = connections.Connections(shared).session
        self.assertEqual(
            ("/ca.pem", ("/a", "/b"), 7.0),
            (own.verify, own.cert, own.timeout),
        )

    def test_one_that_waits_for_an_answer_ends(self) -> None:
        self.glance.on("GET", "image", self._hold)
        self._assert_broken_off("GET", self._path())

    def test_one_that_cannot_send_ends(self) -> None:
        self.glance.on("PUT", "file", self._hold)
        body = (MEBIBYTE for _ in range(1000))
        self._assert_broken_off(
            "PUT", self._path("/file"), data=body, log=False
        )

    def test_one_that_reads_a_body_ends(self) -> None:
        def stall(handler: glances.Handler) -> None:
            handler.answer(200, b"1234", {"Content-Length": 1000})
            self._hold(handler)

        self.glance.on("GET", "file", stall)
        reply = self.connections.session.get(
            self._path("/file"), stream=True, log=False
        )
        data = download.Download(
            reply,
            exception.TransferError(ErrorCode.SOURCE_READ_FAILED, "Broke."),
        )
        self.assertEqual(b"1234", data.read(1000))
        with futures.ThreadPoolExecutor(1) as pool:
            reading = pool.submit(data.read, 1000)
            self.assertTrue(self.reached.wait(10))
            self.connections.break_off()
            self.assertIsInstance(reading.exception(10), connections.BrokenOff)

    def test_none_begins_afterwards(self) -> None:
        self.connections.break_off()
        for _ in range(2):
            self.assertRaises(
                connections.BrokenOff,
                self.connections.session.get,
                self._path(),
            )
        self.assertEqual([], self.glance.seen)

    def test_those_of_others_go_on(self) -> None:
        self.connections.break_off()
        self.assertEqual(200, self.shared.get(self._path()).status_code)
        others = connections.Connections(self.shared)
        self.addCleanup(others.close)
        self.assertEqual(200, others.session.get(self._path()).status_code)

    def test_after_the_end_there_is_nothing_to_break(self) -> None:
        self.connections.session.get(self._path())
        self.connections.close()
        self.connections.break_off()

    def test_a_proxy_s_connections_are_noted_as_well(self) -> None:
        for name, value in (
            ("http_proxy", self.glance.url),
            ("no_proxy", ""),
        ):
            self.useFixture(fixtures.EnvironmentVariable(name, value))
        # A proxy gets the whole URL, which has two more slashes.
        self.glance.on("GET", ID, self._hold)
        self._assert_broken_off("GET", f"http://service.invalid/v2/{ID}")


class TestPool(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.glance = self.useFixture(glances.FakeGlance(hasty=True))
        self.glance.add(ID, b"data")
        self.pool = connections.Pool(glances.new_session(ot2=self.glance))

    def _take(self) -> connections.Connections:
        taken = self.pool.take()
        self.addCleanup(taken.close)
        return taken

    def _show(self, used: connections.Connections) -> None:
        url = f"{self.glance.url}/v2/images/{ID}"
        self.assertEqual(200, used.session.get(url).status_code)

    def test_returned_connections_are_used_again(self) -> None:
        first = self._take()
        self._show(first)
        self.pool.give_back(first)
        self.assertIs(first, self._take())
        self.assertRaises(ksa_exc.ConnectFailure, self._show, first)
        # The same connection is used again.
        self.assertEqual(1, self.glance.closed)

    def test_nobody_gets_what_another_has(self) -> None:
        first, second = self._take(), self._take()
        self.assertIsNot(first, second)
        self.pool.give_back(second)
        self.assertIs(second, self._take())
        self.assertNotIn(self._take(), (first, second))

    def test_broken_connections_are_not_used_again(self) -> None:
        first = self._take()
        self._show(first)
        first.break_off()
        self.assertIs(True, first.broken)
        self.pool.give_back(first)
        second = self._take()
        self.assertIsNot(first, second)
        self.assertIs(False, second.broken)
        self._show(second)
