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

"""Add what the choice of the nearest source needs.

The code of the release before may leave every new column out.

Revision ID: expand_0006
Revises: expand_0005
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "expand_0006"
down_revision = "expand_0005"
branch_labels = None
depends_on = None

_TIMESTAMP = sa.DateTime().with_variant(
    mysql.DATETIME(fsp=6), "mysql", "mariadb"
)


def upgrade() -> None:
    op.add_column("jobs", sa.Column("waiting_for", sa.String(36)))
    op.add_column("jobs", sa.Column("waiting_since", _TIMESTAMP))
    op.create_index(
        "ix_jobs_content",
        "jobs",
        ["destination_tenant_id", "verification_source"],
    )
    op.create_table(
        "routes",
        sa.Column("destination_region_id", sa.String(255), primary_key=True),
        sa.Column("source_region_id", sa.String(255), primary_key=True),
        sa.Column("latency", sa.Double(), nullable=False),
        sa.Column("rate", sa.Double(), nullable=False),
        sa.Column("streams", sa.Integer()),
        sa.Column("measured_at", _TIMESTAMP, nullable=False),
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
    )
