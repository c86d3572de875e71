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

"""The sample files of options and rules."""

import pathlib
import re

import testtools
from oslo_config import cfg

from image_replicator import conf as ir_conf
from image_replicator import policy
from image_replicator.conf import loading
from image_replicator.conf import service_auth

ETC = pathlib.Path(__file__).parents[3] / "etc" / "image-replicator"

#: Our own options; those of [service_auth] are keystoneauth's.
OURS = {
    group: opts
    for group, opts in ir_conf.list_opts()
    if group != service_auth.GROUP
}


def one_line(text: str | None) -> str:
    return " ".join((text or "").split())


class TestHelp(testtools.TestCase):
    """The help of each option has its effect, and when to change it."""

    def test_every_option_explains_itself(self) -> None:
        for group, opts in OURS.items():
            for opt in opts:
                text = one_line(opt.help)
                sentences = re.findall(r"[^.]+\.(?= |$)", text)
                self.assertGreaterEqual(
                    len(sentences), 2, f"[{group}] {opt.name}"
                )
                self.assertTrue(text.endswith("."), f"[{group}] {opt.name}")

    def test_every_choice_explains_itself(self) -> None:
        for opts in OURS.values():
            for opt in opts:
                choices = getattr(opt.type, "choices", None) or {}
                for explanation in choices.values():
                    self.assertTrue(explanation, opt.name)


class TestConfigurationSample(testtools.TestCase):
    """The sample is compared with the code, not with a new sample.

    A new sample would differ whenever an oslo library changes a word.
    """

    def setUp(self) -> None:
        super().setUp()
        text = (ETC / "image-replicator.conf.sample").read_text()
        self.groups = self._by_group(text)

    def _by_group(self, text: str) -> dict[str, str]:
        parts = re.split(r"^\[([\w:]+)\]$", text, flags=re.MULTILINE)
        return dict(zip(parts[1::2], parts[2::2], strict=True))

    def _ours(self, group: str) -> dict[str, tuple[str, str]]:
        """Return the defaults and the help of our options in a group."""
        (block,) = re.findall(
            r"^# From image_replicator$(.*?)(?=^# From |\Z)",
            self.groups[group],
            flags=re.MULTILINE | re.DOTALL,
        )
        return {
            name: (default, one_line(comment.replace("#", " ")))
            for comment, name, default in re.findall(
                r"((?:^#(?: .*)?\n)+)^#(\w+) =(.*)$", block, re.MULTILINE
            )
        }

    def _shown(self, opt: cfg.Opt) -> str:
        """Return a default in the format of a sample."""
        if opt.sample_default is not None:
            return str(opt.sample_default)
        if opt.default is None:
            return "<None>"
        if isinstance(opt.default, bool):
            return str(opt.default).lower()
        if isinstance(opt.default, list):
            return ",".join(opt.default)
        return str(opt.default)

    def test_our_options_are_there_and_no_others(self) -> None:
        for group, opts in OURS.items():
            self.assertEqual(
                {opt.dest for opt in opts}, set(self._ours(group))
            )

    def test_they_say_what_the_code_says(self) -> None:
        for group, opts in OURS.items():
            shown = self._ours(group)
            for opt in opts:
                default, comment = shown[opt.dest]
                self.assertEqual(self._shown(opt), default.strip(), opt.name)
                self.assertIn(one_line(opt.help), comment)
                for word, bound in (
                    ("Minimum", getattr(opt.type, "min", None)),
                    ("Maximum", getattr(opt.type, "max", None)),
                ):
                    if bound is not None:
                        self.assertIn(f"{word} value: {bound}", comment)
                for choice in getattr(opt.type, "choices", None) or ():
                    self.assertIn(choice, comment)

    def test_the_libraries_options_are_there(self) -> None:
        for group, names in {
            "DEFAULT": ("debug", "log_file"),
            "database": ("connection", "max_pool_size"),
            "oslo_policy": ("policy_file",),
            "keystone_authtoken": ("www_authenticate_uri",),
            service_auth.GROUP: (
                "auth_type",
                "auth_url",
                "username",
                "password",
                "project_name",
                "cafile",
                "timeout",
                "valid_interfaces",
                "region_name",
            ),
        }.items():
            for name in names:
                self.assertIn(f"\n#{name} = ", self.groups[group])

    def test_it_shows_our_defaults_of_the_libraries_options(self) -> None:
        self.assertIn(
            f"#connection = {ir_conf.DEFAULT_CONNECTION}\n",
            self.groups["database"],
        )
        self.assertIn("#timeout = 30\n", self.groups[service_auth.GROUP])

    def test_it_can_be_used_as_it_is(self) -> None:
        path = ETC / "image-replicator.conf.sample"
        self.assertTrue(loading.load(config_file=str(path)))


class TestPolicySample(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.text = (ETC / "policy.yaml.sample").read_text()

    def test_it_has_every_rule_as_it_is(self) -> None:
        shown = re.findall(r'^#"([^"]+)": "(.*)"$', self.text, re.MULTILINE)
        self.assertEqual(
            {rule.name: rule.check_str for rule in policy.list_rules()},
            dict(shown),
        )

    def test_it_says_what_the_rules_are_for(self) -> None:
        told = one_line(self.text.replace("#", " "))
        for rule in policy.list_rules():
            self.assertIn(one_line(rule.description), told)
            for operation in getattr(rule, "operations", ()):
                self.assertIn(operation["path"], told)

    def test_every_line_is_a_comment(self) -> None:
        for line in self.text.splitlines():
            self.assertTrue(not line or line.startswith("#"), line)
