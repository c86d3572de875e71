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

"""Copies are made with the right of the user who asked for them."""

import datetime
from typing import Any

import fixtures
from keystoneauth1 import exceptions as ksa_exc
from oslo_utils import timeutils

from image_replicator import authority
from image_replicator import jobs
from image_replicator import sealing
from image_replicator import user_auth
from image_replicator.jobs import JobStatus
from image_replicator.tests.unit import glances
from image_replicator.tests.unit.worker import test_worker
from image_replicator.worker import worker

SOURCE = "the-source-tenant"
OURS = f"{glances.TOKEN}-1"


class FakeTrustee:
    """Gives a token for each trust, unless an error is set.

    :ivar errors: by trust
    :ivar given: the trusts for which tokens were given, in order
    """

    auth_url = "http://keystone/v3"

    def __init__(self) -> None:
        self.errors: dict[str, Exception] = {}
        self.given: list[str] = []

    def get_access(self, session: Any, trust_id: str) -> Any:
        if trust_id in self.errors:
            raise self.errors[trust_id]
        self.given.append(trust_id)
        return _Token(f"{trust_id} {len(self.given)}")


class _Token:
    def __init__(self, token: str) -> None:
        self.auth_token = token

    def will_expire_soon(self, stale_duration: float) -> bool:
        return False


class AccessTestCase(test_worker.WorkerProcessTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.conf.set_override("legacy", "error", "delegation")
        self.trustee = FakeTrustee()
        self.useFixture(
            fixtures.MockPatchObject(
                user_auth, "Trustee", lambda _auth: self.trustee
            )
        )
        self.build()

    def build(self) -> None:
        """Build the worker again."""
        self.worker = worker.Worker(self.conf, self.stores, self.session)
        self.is_started = False

    def delegated(
        self,
        owner: str | None = SOURCE,
        token: authority.SealedToken | None = None,
    ) -> str:
        """Create a job with trusts, or with a token."""
        return self.new_job(
            authority=authority.Authority(
                user_id="user",
                source_owner_id=owner,
                source_trust_id=None if token else "at source",
                destination_trust_id=None if token else "at destination",
                token=token,
            )
        )

    def failure(self, job_id: str) -> jobs.Job:
        """Run a job, which must fail, and return it."""
        if not self.is_started:
            self.start()
            self.is_started = True
        job = self.wait_for(job_id, "error", "replicated")
        self.assertEqual(JobStatus.ERROR, job.status)
        return job

    def tokens(self, glance: glances.FakeGlance) -> set[str]:
        """Return the tokens of all requests to an image service."""
        return {seen.headers["X-Auth-Token"] for seen in glance.requests}


class TestTrusts(AccessTestCase):
    def test_each_region_gets_tokens_of_its_trust(self) -> None:
        job_id = self.delegated()
        self.start()
        self.wait_for(job_id, "replicated")
        for glance, trust in (
            (self.source, "at source"),
            (self.destination, "at destination"),
        ):
            used = self.tokens(glance)
            self.assertTrue(used)
            self.assertEqual(
                {trust}, {token.rsplit(" ", 1)[0] for token in used}
            )

    def test_new_tokens_prove_the_right_at_the_end(self) -> None:
        job_id = self.delegated()
        self.start()
        self.wait_for(job_id, "replicated")
        self.assertEqual(2, self.trustee.given.count("at source"))
        self.assertEqual(2, self.trustee.given.count("at destination"))

    def test_a_right_that_is_gone(self) -> None:
        for trust, code in (
            ("at source", "source_access_lost"),
            ("at destination", "destination_access_lost"),
        ):
            self.trustee.errors = {trust: user_auth.AccessLost("no role")}
            job = self.failure(self.delegated())
            self.assertEqual((code, 1), (job.error_code, job.attempts))
            self.assertIn("no role", job.error_message or "")
            self.assertEqual({}, self.destination.images)

    def test_no_image_is_left_where_none_was_asked_for(self) -> None:
        self.trustee.errors["at destination"] = user_auth.AccessLost("gone")
        job = self.failure(self.delegated())
        self.assertEqual("destination_access_lost", job.error_code)
        self.assertIsNone(job.reserved_image_id)
        self.assertNotIn("unfinished image", str(job.error_message))

    def test_a_right_that_goes_while_the_data_is_sent(self) -> None:
        def take(handler: glances.Handler) -> None:
            self.trustee.errors = {
                "at source": user_auth.AccessLost("no role")
            }
            self.destination.behave(handler)

        self.destination.on("PUT", "file", take)
        job = self.failure(self.delegated())
        self.assertEqual("source_access_lost", job.error_code)
        self.assertEqual({}, self.destination.images)

    def test_a_share_that_ends(self) -> None:
        for owner, code in (
            ("another", "source_access_lost"),
            (SOURCE, "source_not_found"),
        ):
            job_id = self.delegated(owner)
            self.source.images.clear()
            self.assertEqual(code, self.failure(job_id).error_code)

    def test_an_image_that_is_deactivated_while_it_is_read(self) -> None:
        job_id = self.delegated()

        def deactivate(handler: glances.Handler) -> None:
            self.source_image(job_id)["status"] = "deactivated"
            handler.answer(403)

        self.source.on("GET", "file", deactivate)
        self.assertEqual("source_not_active", self.failure(job_id).error_code)

    def test_a_trust_that_is_gone_is_forgotten(self) -> None:
        """So the next job gets a new one. The other trust stays."""
        self._add_trusts()
        self.trustee.errors = {"at source": user_auth.TrustGone("revoked")}
        job = self.failure(self.delegated())
        self.assertIn("revoked", job.error_message or "")
        self.assertFalse(self._is_known("at source"))
        self.assertTrue(self._is_known("at destination"))

    def test_trusts_that_are_both_gone_are_forgotten_at_once(self) -> None:
        """The copy fails at the source; the other trust is looked at then."""
        self._add_trusts()
        gone = user_auth.TrustGone("revoked")
        self.trustee.errors = {"at source": gone, "at destination": gone}
        job = self.failure(self.delegated())
        self.assertEqual("source_access_lost", job.error_code)
        self.assertFalse(self._is_known("at source"))
        self.assertFalse(self._is_known("at destination"))

    def test_keystone_that_is_away_lets_no_trust_be_forgotten(self) -> None:
        self._add_trusts()
        self.trustee.errors = {
            "at source": user_auth.TrustGone("revoked"),
            "at destination": ksa_exc.ServiceUnavailable(),
        }
        self.failure(self.delegated())
        self.assertFalse(self._is_known("at source"))
        self.assertTrue(self._is_known("at destination"))

    def _is_known(self, trust: str) -> bool:
        find = self.stores.delegations.find
        return find("user", trust, ("member",)) is not None

    def _add_trusts(self) -> None:
        for trust in ("at source", "at destination"):
            self.stores.delegations.add(
                authority.Delegation(
                    trust_id=trust,
                    user_id="user",
                    project_id=trust,
                    roles=("member",),
                )
            )


class TestSealedToken(AccessTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.conf.set_override("state_path", self.directory)
        sealer = sealing.Sealer.from_conf(self.conf)
        assert sealer
        self.sealer = sealer
        self.build()

    def token(self, sealed: str | None = None) -> authority.SealedToken:
        return authority.SealedToken(
            sealed=sealed or self.sealer.seal("u53r"),
            expires_at=timeutils.utcnow() + datetime.timedelta(hours=1),
        )

    def test_it_is_sent_with_our_service_token(self) -> None:
        self.useFixture(
            fixtures.MockPatchObject(user_auth.SealedTokenAuth, "renew")
        )
        job_id = self.delegated(token=self.token())
        self.start()
        self.wait_for(job_id, "replicated")
        for glance in (self.source, self.destination):
            for seen in glance.requests:
                self.assertEqual("u53r", seen.headers["X-Auth-Token"])
                self.assertEqual(OURS, seen.headers["X-Service-Token"])

    def test_a_worker_without_the_key(self) -> None:
        job = self.failure(self.delegated(token=self.token("n0n5en5e")))
        self.assertEqual("authority_unreadable", job.error_code)

    def test_glance_refuses_it(self) -> None:
        self.useFixture(
            fixtures.MockPatchObject(
                user_auth.SealedTokenAuth,
                "renew",
                side_effect=user_auth.AccessLost("revoked"),
            )
        )
        self.source.on("GET", "image", glances.saying(401))
        job = self.failure(self.delegated(token=self.token()))
        self.assertEqual("source_access_lost", job.error_code)
        self.assertNotIn("u53r", self.logger.output)


class TestLegacy(AccessTestCase):
    """Jobs that a release without delegation created."""

    def test_error(self) -> None:
        job = self.failure(self.new_job())
        self.assertEqual("authority_missing", job.error_code)
        self.assertEqual([], self.source.seen)

    def test_service(self) -> None:
        self.conf.set_override("legacy", "service", "delegation")
        self.build()
        job_id = self.new_job()
        self.start()
        self.wait_for(job_id, "replicated")
        self.assertEqual({OURS}, self.tokens(self.source))


class TestCleanUp(AccessTestCase):
    """The right to remove the unfinished image is gone."""

    def lose_right(self, **changes: Any) -> jobs.Job:
        """Run a job that loses its right while the data is sent.

        :param changes: of the unfinished image, made by the project's users
        """

        self.trustee.errors = {}

        def take(handler: glances.Handler) -> None:
            (image,) = self.destination.images.values()
            image.update(changes)
            self.trustee.errors = {
                "at destination": user_auth.AccessLost("no role")
            }
            # The token that was got before is refused, too.
            self.destination.on("DELETE", "image", self._refuse_users)
            handler.body()
            handler.answer(401)

        self.destination.on("PUT", "file", take)
        return self.failure(self.delegated())

    def _refuse_users(self, handler: glances.Handler) -> None:
        if handler.headers["X-Auth-Token"] == OURS:
            self.destination.behave(handler)
        else:
            handler.answer(401)

    def test_by_default_it_stays_and_the_job_says_so(self) -> None:
        job = self.lose_right()
        self.assertIn("may be left in region ot2", job.error_message or "")
        self.assertEqual({job.reserved_image_id}, set(self.destination.images))

    def test_the_operator_may_let_us_remove_it(self) -> None:
        self.conf.set_override("cleanup", "service", "delegation")
        self.build()
        job = self.lose_right()
        self.assertEqual("destination_access_lost", job.error_code)
        self.assertEqual({}, self.destination.images)
        self.assertIsNone(job.reserved_image_id)

    def test_never_an_image_that_names_a_key(self) -> None:
        """Its deletion could delete the key with our right."""
        self.conf.set_override("cleanup", "service", "delegation")
        self.build()
        for name in ("cinder_encryption_key_id", "os_encrypt_key_id"):
            self.destination.images.clear()
            self.lose_right(**{name: "another's key"})
            self.assertEqual(1, len(self.destination.images))
        self.assertIn("names an encryption key", self.logger.output)

    def test_never_an_image_without_our_mark(self) -> None:
        self.conf.set_override("cleanup", "service", "delegation")
        self.build()
        self.lose_right(tags=["mine"])
        self.assertEqual(1, len(self.destination.images))
