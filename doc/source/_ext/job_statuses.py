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

"""The ``job-statuses`` directive: the diagram of what the code enforces."""

from docutils import nodes
from docutils.parsers import rst
from sphinx import application

from image_replicator import jobs


class JobStatuses(rst.Directive):
    """A table of each status and those that can follow it."""

    def run(self) -> list[nodes.Node]:
        lines = [
            f"{status:<20} {' | '.join(_following(status)) or '(final)'}"
            for status in jobs.JobStatus
        ]
        text = "\n".join(lines)
        return [nodes.literal_block(text, text)]


def _following(status: jobs.JobStatus) -> list[str]:
    return [s for s in jobs.JobStatus if s in jobs.TRANSITIONS[status]]


def setup(app: application.Sphinx) -> dict[str, bool]:
    app.add_directive("job-statuses", JobStatuses)
    return {"parallel_read_safe": True}
