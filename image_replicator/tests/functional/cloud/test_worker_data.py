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

"""Sources that are silent, slow or damaged, and answers that are lost."""

import contextlib
import os
import pathlib
import sqlite3
import time
from typing import Any
from typing import Final

from devcloud import fronts
from devcloud import proxy
from devcloud import services
from devcloud.proxy import Direction
from image_replicator.tests.functional.cloud import base

MEBIBYTE: Final = 1024 * 1024
DATA: Final = bytes(range(256)) * 65536

#: Seconds for which a source is silent: longer than the time-outs of uWSGI, 4
#: by default, and of the fronts in these tests.
SILENCE: Final = float(os.environ.get("TEST_SILENCE", "8"))


class TestSilence(base.CloudTestCase):
    """An upload does not end while the source is silent."""

    def _copy_with_silence(self, front: services.Relay | None = None) -> None:
        if front:
            self.route("ot2", front)
        relay = self.relay("ot1")
        relay.hold_after(3 * MEBIBYTE)
        image = self.cloud.images("ot1").create(DATA)
        # The worker makes one attempt.
        self.start_worker()
        job_id = self.ask_for_copy(image["id"])
        self.assertTrue(relay.wait_until_held())
        time.sleep(SILENCE)
        relay.release()
        job = self.wait_for(job_id, "replicated", "error")
        self.assertEqual("replicated", job["status"])
        copies = self.cloud.images("ot2", "alice", "destination")
        self.assertEqual(DATA, copies.read(job["destination_image_id"]))

    def test_before_uwsgi_as_it_is(self) -> None:
        self._copy_with_silence()

    def _copy_before_nginx(self, buffering: str) -> None:
        front = fronts.Nginx(
            {
                "client_body_timeout": "4s",
                "proxy_read_timeout": "4s",
                "proxy_request_buffering": buffering,
            }
        )
        self._copy_with_silence(self.useFixture(front))

    def test_before_nginx(self) -> None:
        self._copy_before_nginx("off")

    def test_before_an_nginx_that_keeps_all_until_the_end(self) -> None:
        self._copy_before_nginx("on")

    def test_before_haproxy(self) -> None:
        front = fronts.HAProxy({"client": "4s", "server": "4s"})
        self._copy_with_silence(self.useFixture(front))


class LateAnswer:
    """A front, and a proxy behind it that can hold Glance's answers.

    :ivar proxy: between the front and Glance
    """

    def __init__(self, front: fronts.Front, behind: proxy.Proxy) -> None:
        self._front = front
        self.proxy = behind

    @property
    def url(self) -> str:
        """The URL of the front."""
        return self._front.url

    def connect_to(self, upstream_port: int) -> None:
        """Forward to a port of 127.0.0.1 through both."""
        self.proxy.connect_to(upstream_port)
        self._front.connect_to(self.proxy.port)


class TestLostAnswer(base.CloudTestCase):
    """Glance has all bytes, and what is before it answers in its place."""

    def _upload_without_an_answer(self, front: fronts.Front) -> str:
        """Begin a copy through a front; return the id of its whole image."""
        self.before = set(self.images_in("ot2"))
        self.front = self.useFixture(front)
        behind = self.useFixture(proxy.Proxy(longest_hold=base.HOLD))
        self.late = LateAnswer(self.front, behind)
        self.route("ot2", self.late)
        # The answers are held before the last byte has come.
        behind.throttle(8 * MEBIBYTE, Direction.UPLOAD)
        self.worker = self.start_worker()
        image = self.cloud.images("ot1").create(DATA)
        self.job_id = self.ask_for_copy(image["id"])
        self.assertTrue(behind.wait_for_bytes(MEBIBYTE, Direction.UPLOAD))
        behind.pause(Direction.DOWNLOAD)
        image_id: str
        (image_id,) = self.wait_until(
            lambda: set(self.images_in("ot2")) - self.before, "an image"
        )
        self.wait_until(
            lambda: self.images_in("ot2")[image_id]["status"] == "active",
            "the data at the destination",
        )
        return image_id

    def _assert_kept(self, image_id: str) -> None:
        """Check that the only attempt ends with this image."""
        job = self.wait_for(self.job_id, "replicated", "error")
        self.assertEqual("replicated", job["status"])
        self.assertEqual(image_id, job["destination_image_id"])
        self.assertEqual({image_id}, set(self.images_in("ot2")) - self.before)

    def _keep_after_a_time_out(self, front: fronts.Front) -> None:
        image_id = self._upload_without_an_answer(front)
        self.wait_for_log(self.worker, "Looking whether")
        self.assertIn("504", self.front.log())
        self.late.proxy.release()
        self._assert_kept(image_id)

    def test_haproxy_times_out(self) -> None:
        self._keep_after_a_time_out(fronts.HAProxy({"server": "2s"}))

    def test_nginx_times_out(self) -> None:
        self._keep_after_a_time_out(fronts.Nginx({"proxy_read_timeout": "2s"}))

    def test_haproxy_is_restarted(self) -> None:
        """It hangs up, and is back soon."""
        image_id = self._upload_without_an_answer(fronts.HAProxy())
        self.front.stop()
        self.late.proxy.release()
        self.front.connect_to(self.late.proxy.port)
        self._assert_kept(image_id)


class TestSource(base.CloudTestCase):
    """Faults of the source's data, each with its own error."""

    def _copy(self, image_id: str, **overrides: Any) -> Any:
        """Run a copy that must fail; return the job's row."""
        before = set(self.images_in("ot2"))
        self.start_worker(**overrides)
        job_id = self.ask_for_copy(image_id)
        job = self.wait_for(job_id, "replicated", "error")
        self.assertEqual("error", job["status"])
        self.wait_until_clean(job_id, before)
        return self.job_row(job_id)

    def _file(self, image_id: str) -> pathlib.Path:
        return self.cloud.glances["ot1"].directory / "file" / image_id

    def _forget_hash(self, image_id: str) -> None:
        """Remove os_hash_value from an image, as old images have none."""
        path = self.cloud.glances["ot1"].database
        with contextlib.closing(sqlite3.connect(path, timeout=30)) as database:
            database.execute(
                "UPDATE images SET os_hash_algo = NULL, os_hash_value = NULL "
                "WHERE id = ?",
                [image_id],
            )
            database.commit()

    def _rot(self, image_id: str) -> None:
        """Flip a bit of an image in its store."""
        with self._file(image_id).open("r+b") as stored:
            stored.seek(5 * MEBIBYTE)
            byte = stored.read(1)[0]
            stored.seek(5 * MEBIBYTE)
            stored.write(bytes([byte ^ 1]))

    def test_a_flipped_bit_and_nothing_but_a_checksum(self) -> None:
        image = self.cloud.images("ot1").create(DATA)
        self._forget_hash(image["id"])
        self._rot(image["id"])
        row = self._copy(image["id"])
        self.assertEqual("source_damaged", row.error_code)
        self.assertIn(image["checksum"], row.error_message)

    def test_a_flipped_bit_is_the_source_s_at_the_second_attempt(self) -> None:
        image = self.cloud.images("ot1").create(DATA)
        self._rot(image["id"])
        row = self._copy(image["id"], worker={"max_attempts": 5})
        self.assertEqual("source_damaged", row.error_code)
        self.assertIn(image["os_hash_value"], row.error_message)
        self.assertEqual(2, row.attempts)

    def test_a_file_that_is_shorter_than_its_size(self) -> None:
        for streams in (1, 4):
            image = self.cloud.images("ot1").create(DATA)
            os.truncate(self._file(image["id"]), 5 * MEBIBYTE)
            row = self._copy(
                image["id"],
                worker={"max_attempts": 5},
                transfer={"min_streams": streams, "max_streams": streams},
            )
            self.assertEqual("source_size_differs", row.error_code)
            self.assertIn(f"after {5 * MEBIBYTE} bytes", row.error_message)
            self.assertEqual(1, row.attempts)

    def test_connections_that_break_after_a_few_bytes(self) -> None:
        relay = self.relay("ot1")
        relay.throttle(20_000, Direction.DOWNLOAD)
        image = self.cloud.images("ot1").create(DATA)
        worker = self.start_worker(
            transfer={
                "min_rate": 1_000_000,
                "min_rate_period": 2,
                "read_timeout": 1,
            }
        )
        job_id = self.ask_for_copy(image["id"])
        while self.job(job_id)["status"] not in ("replicated", "error"):
            time.sleep(0.5)
            relay.cut()
        self.assertEqual("source_too_slow", self.job_row(job_id).error_code)
        self.assertIn("Taking it up again", worker.log_path.read_text())
