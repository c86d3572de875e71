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

The names follow ``service:resource:action``. The target of the jobs'
rules is the job's tenants: ``source_tenant_id`` asked for the copy,
``destination_tenant_id`` gets it.
"""

import time
from collections.abc import Iterable
from collections.abc import Mapping
from typing import Final

from oslo_config import cfg
from oslo_policy import policy

from image_replicator import context as ir_context
from image_replicator import exception

LIST: Final = "image_replicator:jobs:list"
LIST_ALL_TENANTS: Final = "image_replicator:jobs:list:all_tenants"
SHOW: Final = "image_replicator:jobs:show"
CREATE: Final = "image_replicator:jobs:create"
CREATE_AT_DESTINATION: Final = "image_replicator:jobs:create:destination"
CANCEL: Final = "image_replicator:jobs:cancel"
RETRY: Final = "image_replicator:jobs:retry"
VERSIONS: Final = "image_replicator:versions:list"

_JOBS: Final = "/v2/extension/image_replicator/jobs"
# Flat, and the usual case first: each step of a rule costs.
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
    """Return every rule, for the sample and for the enforcer."""
    return list(_RULES)


def _check_file(conf: cfg.ConfigOpts) -> None:
    """Refuse to start without a policy file that the operator names.

    oslo.policy would go by the defaults, which may allow more than the file.
    """
    name = conf.oslo_policy.policy_file
    source = conf.get_location("policy_file", "oslo_policy")
    named = source is not None and source.location.is_user_controlled
    if named and not conf.find_file(name):
        raise exception.ConfigurationError(
            f"[oslo_policy] policy_file: {name}: there is no such file"
        )


#: Seconds after which a change of the policy file counts at the latest.
_LOOK_INTERVAL: Final = 5.0


class Enforcer:
    """Asks oslo.policy.

    :param conf: has ``[oslo_policy]``, where the operator's file is named.
    :raises ConfigurationError: if that file cannot be used.
    """

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        self._look_at = 0.0
        self._enforcer = policy.Enforcer(conf)
        self._enforcer.register_defaults(list_rules())
        _check_file(conf)
        try:
            self._enforcer.load_rules()
            self._enforcer.check_rules(raise_on_violation=True)
        except Exception as error:
            # What oslo.policy raises for a broken file is whatever its
            # parsers raise.
            raise exception.ConfigurationError(
                f"[oslo_policy] policy_file: {error}"
            ) from error

    def allows(
        self,
        rule: str,
        context: ir_context.RequestContext,
        target: Mapping[str, str],
    ) -> bool:
        """Tell whether the caller may do ``rule`` to ``target``."""
        # Not at each request: it costs more than all rules together.
        self._enforcer.use_conf = self._is_time_to_look()
        try:
            return bool(
                self._enforcer.enforce(
                    rule, dict(target), context.to_policy_values()
                )
            )
        except policy.InvalidScope:
            return False

    def _is_time_to_look(self) -> bool:
        """Tell whether to see if the operator has changed the policy."""
        now = time.monotonic()
        if now < self._look_at:
            return False
        self._look_at = now + _LOOK_INTERVAL
        return True

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
        """Check that the caller may know that something exists.

        :param not_found: the error of something that does not exist.
        :raises NotFound: ``not_found``, if the policy does not allow it.
        """
        if not self.allows(rule, context, target):
            raise not_found
