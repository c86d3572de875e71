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

"""The policy: rules that an operator can override.

The names follow ``service:resource:action``. The target of the jobs' rules has
the job's tenants: ``source_tenant_id`` asked for the copy,
``destination_tenant_id`` gets it.
"""

import time
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from typing import Final

from oslo_config import cfg
from oslo_log import log as logging
from oslo_policy import policy

from image_replicator import context as ir_context
from image_replicator import exception
from image_replicator import policy_files

LOG = logging.getLogger(__name__)

LIST: Final = "image_replicator:jobs:list"
LIST_ALL_TENANTS: Final = "image_replicator:jobs:list:all_tenants"
SHOW: Final = "image_replicator:jobs:show"
CREATE: Final = "image_replicator:jobs:create"
CREATE_AT_DESTINATION: Final = "image_replicator:jobs:create:destination"
CANCEL: Final = "image_replicator:jobs:cancel"
RETRY: Final = "image_replicator:jobs:retry"
VERSIONS: Final = "image_replicator:versions:list"

_JOBS: Final = "/v2/extension/image_replicator/jobs"
# These rules are flat, with the usual case first, as each step of a rule takes
# time.
_READER_OF_THE_JOB: Final = (
    "(role:reader and project_id:%(source_tenant_id)s) or "
    "(role:reader and project_id:%(destination_tenant_id)s) or "
    "rule:admin_required"
)
_PROJECT: Final = ["project"]

_RULES: Final = [
    policy.RuleDefault(
        "admin_required",
        "role:admin",
        description="Who administers the image replicator.",
    ),
    policy.DocumentedRuleDefault(
        LIST,
        "role:reader and project_id:%(source_tenant_id)s",
        "List the jobs whose source or destination is the caller's tenant. "
        "The target is the caller's tenant.",
        [{"path": _JOBS, "method": "GET"}],
        scope_types=_PROJECT,
    ),
    policy.DocumentedRuleDefault(
        LIST_ALL_TENANTS,
        "rule:admin_required",
        "List all tenants' jobs with all_tenants=true.",
        [{"path": _JOBS + "?all_tenants=true", "method": "GET"}],
        scope_types=_PROJECT,
    ),
    policy.DocumentedRuleDefault(
        SHOW,
        _READER_OF_THE_JOB,
        "Show a job. A job that may not be shown does not exist for the "
        "caller: any operation on it answers 404.",
        [{"path": _JOBS + "/{job_id}", "method": "GET"}],
        scope_types=_PROJECT,
    ),
    policy.DocumentedRuleDefault(
        CREATE,
        "role:member and project_id:%(source_tenant_id)s",
        "Ask for a copy of an image. The target is the caller's tenant.",
        [{"path": _JOBS, "method": "POST"}],
        scope_types=_PROJECT,
    ),
    policy.DocumentedRuleDefault(
        CREATE_AT_DESTINATION,
        "role:member and project_id:%(destination_tenant_id)s",
        "Put a copy into the destination tenant, by a new job or another run "
        "of one. It is asked of the roles that the caller's own token has "
        "there.",
        [
            {"path": _JOBS, "method": "POST"},
            {"path": _JOBS + "/{job_id}/action", "method": "POST"},
        ],
        scope_types=_PROJECT,
    ),
    policy.DocumentedRuleDefault(
        CANCEL,
        "(role:member and project_id:%(source_tenant_id)s) or "
        "rule:admin_required",
        "Cancel a job.",
        [{"path": _JOBS + "/{job_id}", "method": "DELETE"}],
        scope_types=_PROJECT,
    ),
    policy.DocumentedRuleDefault(
        RETRY,
        "(role:member and project_id:%(source_tenant_id)s) or "
        "rule:admin_required",
        "Have a job that is canceled or in error run once more. The rule of "
        "the destination tenant counts as well.",
        [{"path": _JOBS + "/{job_id}/action", "method": "POST"}],
        scope_types=_PROJECT,
    ),
    policy.DocumentedRuleDefault(
        VERSIONS,
        "@",
        "List the versions of this API.",
        [{"path": "/v2/extension/image_replicator", "method": "GET"}],
    ),
]


def list_rules() -> list[policy.RuleDefault]:
    """Return every rule, for the sample file and for the enforcer."""
    return list(_RULES)


def _with_rules(files: Mapping[str, bool]) -> frozenset[str]:
    return frozenset(path for path, has_rules in files.items() if has_rules)


#: Seconds after which a change of the policy files is seen at the latest.
_LOOK_INTERVAL: Final = 5.0

#: Seconds after which the log repeats that they cannot be used.
_COMPLAINT_INTERVAL: Final = 60.0


class Enforcer:
    """Checks rules with oslo.policy and the last usable policy files.

    oslo.policy itself falls back to the defaults when a file is missing or
    empty, and fails each request while a file is broken.

    :param conf: has ``[oslo_policy]``, where the operator's files are named.
    :param clock: seconds, never going back.
    :raises ConfigurationError: if the files cannot be used.
    """

    def __init__(
        self,
        conf: cfg.ConfigOpts,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._conf = conf
        self._clock = clock
        self._look_at = clock() + _LOOK_INTERVAL
        self._complain_at = 0.0
        self._problem: str | None = None
        # This registers [oslo_policy].
        policy.Enforcer(conf)
        self._files = policy_files.PolicyFiles(conf)
        self._files.check()
        try:
            self._states = self._files.states()
            self._in_use = _with_rules(self._files.read())
            self._enforcer = self._load()
        except Exception as error:
            # For a broken file, oslo.policy raises any error of its parsers.
            raise exception.ConfigurationError(
                f"[oslo_policy] policy_file: {error}"
            ) from error

    def _load(self) -> policy.Enforcer:
        """Return an enforcer with the rules that the files have now."""
        enforcer = policy.Enforcer(self._conf)
        enforcer.register_defaults(list_rules())
        enforcer.load_rules()
        enforcer.check_rules(raise_on_violation=True)
        # It is replaced as a whole when a file changes.
        enforcer.use_conf = False
        return enforcer

    def allows(
        self,
        rule: str,
        context: ir_context.RequestContext,
        target: Mapping[str, str],
    ) -> bool:
        """Tell whether the caller may do ``rule`` to ``target``."""
        # The files are not checked at each request, as that takes longer than
        # all rules together.
        if self._clock() >= self._look_at:
            self._look_at = self._clock() + _LOOK_INTERVAL
            self._look()
        try:
            return bool(
                self._enforcer.enforce(
                    rule, dict(target), context.to_policy_values()
                )
            )
        except policy.InvalidScope:
            return False

    def _look(self) -> None:
        """Load the policy files again if they have changed and can be used."""
        try:
            states = self._files.states()
            self._problem = None
            if states != self._states:
                self._problem = self._reload(states)
        except Exception as error:
            # The errors of __init__, and that a file cannot be read.
            self._problem = str(error)
        self._complain()

    def _reload(self, states: frozenset[policy_files.State]) -> str | None:
        """Read the files again.

        :param states: of the files.
        :returns: the reason why they cannot be used; None if they are used
            now.
        """
        found = self._files.read()
        lost = self._in_use - found.keys()
        if lost:
            return f"{min(lost)} has vanished or is empty"
        enforcer = self._load()
        if self._files.states() != states:
            return "they change while they are read"
        self._enforcer = enforcer
        self._in_use, self._states = _with_rules(found), states
        LOG.info("The policy was read again")
        return None

    def _complain(self) -> None:
        """Log that the files cannot be used, once a minute."""
        if self._problem is None:
            self._complain_at = 0.0
        elif self._clock() >= self._complain_at:
            self._complain_at = self._clock() + _COMPLAINT_INTERVAL
            LOG.error(
                "[oslo_policy]: the policy files cannot be used, and the "
                "rules that they had before stay in force: %s",
                " ".join(self._problem.split()),
            )

    def authorize(
        self,
        rule: str,
        context: ir_context.RequestContext,
        target: Mapping[str, str],
    ) -> None:
        """Check that the caller may do ``rule`` to ``target``.

        :raises Forbidden: if the policy does not allow it.
        """
        self.authorize_any([rule], context, target)

    def authorize_any(
        self,
        rules: Iterable[str],
        context: ir_context.RequestContext,
        target: Mapping[str, str],
    ) -> None:
        """Check that the caller may do one of ``rules`` to ``target``.

        :raises Forbidden: if the policy allows none of them.
        """
        if not any(self.allows(rule, context, target) for rule in rules):
            raise exception.Forbidden(
                "Your roles in this project do not allow this request."
            )

    def authorize_show(
        self,
        rule: str,
        context: ir_context.RequestContext,
        target: Mapping[str, str],
        not_found: exception.NotFound,
    ) -> None:
        """Check that the caller may know that a thing exists.

        :param not_found: the error for a thing that does not exist.
        :raises NotFound: ``not_found``, if the policy does not allow it.
        """
        if not self.allows(rule, context, target):
            raise not_found
