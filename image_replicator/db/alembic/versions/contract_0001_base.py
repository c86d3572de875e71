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

"""Begin the contracting branch, with nothing to remove yet.

Revision ID: contract_0001
Revises: nothing
"""

revision = "contract_0001"
down_revision = None
branch_labels = ("contract",)
depends_on = ("expand_0001",)


def upgrade() -> None:
    pass
