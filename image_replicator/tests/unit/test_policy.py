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

"""The default policy, and the operator's policy file."""

import pathlib

import fixtures
import testtools
from oslo_config import cfg

from devcloud import settings
from image_replicator import context
from image_replicator import exception
from image_replicator import policy

_SOURCE = "source"
_DESTINATION = "destination"
_TARGET = {
    "source_tenant_id": _SOURCE,
    "destination_tenant_id": _DESTINATION,
}
_NONE: tuple[str, ...] = ()
_READER = ("reader",)
_MEMBER = ("member", "reader")
_ADMIN = ("admin", "manager", "member", "reader")


def new_context(
    project: str | None = _SOURCE,
    roles: tuple[str, ...] = _MEMBER,
    system: str | None = None,
) -> context.RequestContext:
    """Return a caller."""
    return context.RequestContext(
        user_id="user",
        project_id=project,
        roles=list(roles),
        system_scope=system,
        overwrite=False,
    )


class PolicyTestCase(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.logged = self.useFixture(fixtures.FakeLogger())
        self.now = 0.0
        self.directory = pathlib.Path(self.useFixture(fixtures.TempDir()).path)

    def enforcer(self, text: str | None = None) -> policy.Enforcer:
        """Return an enforcer.

        :param text: of the operator's policy file; None for no such file.
        """
        path = None
        if text is not None:
            path = self.directory / "policy.yaml"
            path.write_text(text)
        config_file = settings.write(
            self.directory / "test.conf",
            {"oslo_policy": {"policy_file": path}},
        )
        conf = cfg.ConfigOpts()
        conf([], default_config_files=[str(config_file)])
        return policy.Enforcer(conf, clock=lambda: self.now)


class TestDefaults(PolicyTestCase):
    def test_table(self) -> None:
        """Check all combinations of rules, roles and tenants."""
        show, cancel, retry = policy.SHOW, policy.CANCEL, policy.RETRY
        listing, create = policy.LIST, policy.CREATE
        there = policy.CREATE_AT_DESTINATION
        everywhere = policy.LIST_ALL_TENANTS
        allowed = {
            (_SOURCE, _NONE): set(),
            (_SOURCE, _READER): {show, listing},
            (_SOURCE, _MEMBER): {show, listing, create, cancel, retry},
            (_SOURCE, _ADMIN): {
                show,
                listing,
                create,
                cancel,
                retry,
                everywhere,
            },
            (_DESTINATION, _NONE): set(),
            (_DESTINATION, _READER): {show},
            (_DESTINATION, _MEMBER): {show, there},
            (_DESTINATION, _ADMIN): {show, there, cancel, retry, everywhere},
            ("other", _NONE): set(),
            ("other", _READER): set(),
            ("other", _MEMBER): set(),
            ("other", _ADMIN): {show, cancel, retry, everywhere},
        }
        enforcer = self.enforcer()
        for (project, roles), expected in allowed.items():
            caller = new_context(project, roles)
            actual = {
                rule
                for rule in (
                    show,
                    cancel,
                    retry,
                    listing,
                    create,
                    there,
                    everywhere,
                )
                if enforcer.allows(rule, caller, _TARGET)
            }
            self.assertEqual(expected, actual, f"{project} {roles}")

    def test_versions_are_for_all(self) -> None:
        self.assertTrue(
            self.enforcer().allows(
                policy.VERSIONS, new_context("x", _NONE), {}
            )
        )

    def test_system_scope_is_not_a_project(self) -> None:
        enforcer = self.enforcer()
        system = new_context(None, _ADMIN, system="all")
        for rule in policy.list_rules():
            if rule.scope_types:
                self.assertFalse(enforcer.allows(rule.name, system, _TARGET))

    def test_denial_is_forbidden_in_words(self) -> None:
        error = self.assertRaises(
            exception.Forbidden,
            self.enforcer().authorize,
            policy.CREATE,
            new_context(roles=_READER),
            _TARGET,
        )
        self.assertIn("roles", error.message)

    def test_no_rule_is_deprecated_or_undocumented(self) -> None:
        for rule in policy.list_rules():
            self.assertTrue(rule.description)
            self.assertFalse(rule.deprecated_rule)


class TestOverrides(PolicyTestCase):
    def test_operator_widens_a_rule(self) -> None:
        enforcer = self.enforcer(f'"{policy.CANCEL}": "role:reader"')
        caller = new_context("other", _READER)
        self.assertTrue(enforcer.allows(policy.CANCEL, caller, _TARGET))
        self.assertFalse(enforcer.allows(policy.SHOW, caller, _TARGET))

    def test_operator_narrows_a_rule(self) -> None:
        enforcer = self.enforcer(f'"{policy.CREATE}": "role:copier"')
        self.assertFalse(
            enforcer.allows(policy.CREATE, new_context(), _TARGET)
        )
        copier = new_context(roles=("copier",))
        self.assertTrue(enforcer.allows(policy.CREATE, copier, _TARGET))

    def test_operator_says_who_is_an_administrator(self) -> None:
        enforcer = self.enforcer('"admin_required": "role:image_admin"')
        admin = new_context("other", _ADMIN)
        image_admin = new_context("other", ("image_admin",))
        for rule in (policy.LIST_ALL_TENANTS, policy.CANCEL, policy.SHOW):
            self.assertFalse(enforcer.allows(rule, admin, _TARGET))
            self.assertTrue(enforcer.allows(rule, image_admin, _TARGET))

    def test_file_that_cannot_be_used_is_a_configuration_error(self) -> None:
        for text in (
            "{",
            "- a list",
            f'"{policy.SHOW}": "rule:nosuch"',
            'admin_required: "rule:admin_required"',
        ):
            error = self.assertRaises(
                exception.ConfigurationError, self.enforcer, text
            )
            self.assertIn("policy_file", str(error))


class TestChangesAtRunTime(PolicyTestCase):
    """The defaults must not return when a policy file is lost."""

    closed = f'"{policy.CANCEL}": "!"'

    def setUp(self) -> None:
        super().setUp()
        self.file = self.directory / "policy.yaml"
        self.read = 0

    def allows(self, enforcer: policy.Enforcer) -> bool:
        """Return whether a member may cancel, some seconds later."""
        self.now += 6
        return enforcer.allows(policy.CANCEL, new_context(), _TARGET)

    def new_log(self) -> str:
        """Return the log since the last call."""
        output = self.logged.output
        new, self.read = output[self.read :], len(output)
        return new

    def assert_closed(self, enforcer: policy.Enforcer, word: str) -> None:
        """Check that the rules stay, and that the log has the reason."""
        for _ in range(3):
            for _ in range(2):
                self.assertFalse(self.allows(enforcer))
            log = self.new_log()
            self.assertEqual(1, log.count("stay in force"), log)
            self.assertIn(word, log)
            self.now += 60

    def assert_mended(self, enforcer: policy.Enforcer) -> None:
        """Check that the next good file is used, and ends the warnings."""
        self.new_log()
        for text, open_now in (
            (f'"{policy.CANCEL}": "@"', True),
            (self.closed, False),
        ):
            self.file.write_text(text)
            self.assertEqual(open_now, self.allows(enforcer))
            self.now += 600
            self.assertEqual(open_now, self.allows(enforcer))
        self.assertNotIn("stay in force", self.new_log())

    def test_file_that_vanishes(self) -> None:
        enforcer = self.enforcer(self.closed)
        self.file.rename(self.directory / "moved")
        self.assert_closed(enforcer, "vanished or is empty")
        (self.directory / "moved").rename(self.file)
        self.assertFalse(self.allows(enforcer))
        self.assert_mended(enforcer)

    def test_file_that_cannot_be_used(self) -> None:
        for text, word in (
            ("", "vanished or is empty"),
            ("\n  # no rule is left\n", "vanished or is empty"),
            ("{", "policy.yaml: while parsing a flow node expected"),
            ("- a list", "policy.yaml: no mapping"),
            (f'"{policy.CANCEL}": "rule:nosuch"', policy.CANCEL),
        ):
            enforcer = self.enforcer(self.closed)
            self.file.write_text(text)
            self.assert_closed(enforcer, word)
            self.assert_mended(enforcer)

    def test_file_that_is_not_utf_8(self) -> None:
        enforcer = self.enforcer(self.closed)
        self.file.write_bytes(b"\xff")
        self.assert_closed(enforcer, "utf-8")
        self.assert_mended(enforcer)

    def test_rules_that_are_given_up_on_purpose(self) -> None:
        enforcer = self.enforcer(self.closed)
        self.file.write_text("{}")
        self.assertTrue(self.allows(enforcer))
        self.file.unlink()
        self.assertTrue(self.allows(enforcer))
        self.assertNotIn("stay in force", self.new_log())

    def test_file_of_a_directory_of_rules(self) -> None:
        directory = self.directory / "policy.d"
        directory.mkdir()
        (directory / "one.yaml").write_text(self.closed)
        enforcer = self.enforcer("{}")
        self.assertFalse(self.allows(enforcer))
        directory.rename(self.directory / "moved")
        self.assert_closed(enforcer, "one.yaml has vanished or is empty")
        directory.mkdir()
        self.assert_closed(enforcer, "one.yaml has vanished or is empty")
        (directory / "one.yaml").write_text("{}")
        self.assertTrue(self.allows(enforcer))

    def test_file_that_comes(self) -> None:
        enforcer = self.enforcer()
        self.assertTrue(self.allows(enforcer))
        self.file.write_text(self.closed)
        self.assertFalse(self.allows(enforcer))
