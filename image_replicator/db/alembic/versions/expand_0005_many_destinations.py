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

"""Add priorities, images that are there already, and idempotency keys.

The code of the release before may leave every new column out.

Revision ID: expand_0005
Revises: expand_0004
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "expand_0005"
down_revision = "expand_0004"
branch_labels = None
depends_on = None

_TIMESTAMP = sa.DateTime().with_variant(
    mysql.DATETIME(fsp=6), "mysql", "mariadb"
)
_LONG_TEXT = sa.Text().with_variant(mysql.MEDIUMTEXT(), "mysql", "mariadb")


def upgrade() -> None:
    for column in (
        sa.Column(
            "priority",
            sa.String(16),
            nullable=False,
            server_default="interactive",
        ),
        sa.Column(
            "if_present", sa.String(16), nullable=False, server_default="copy"
        ),
        sa.Column(
            "skipped", sa.Boolean(), nullable=False, server_default=sa.false()
        ),
        sa.Column(
            "tier", sa.SmallInteger(), nullable=False, server_default="0"
        ),
        sa.Column("background_since", _TIMESTAMP),
        sa.Column("read_region_id", sa.String(255)),
        sa.Column("read_image_id", sa.String(36)),
    ):
        op.add_column("jobs", column)
    op.create_index("ix_jobs_background", "jobs", ["background_since"])
    op.create_index(
        "ix_jobs_tier_queue",
        "jobs",
        [
            "status",
            "destination_region_id",
            "tier",
            "source_tenant_id",
            "turn",
            "created_at",
            "id",
        ],
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("project_id", sa.String(64), primary_key=True),
        sa.Column("key", sa.String(255), primary_key=True),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("answer", _LONG_TEXT, nullable=False),
        sa.Column("created_at", _TIMESTAMP, nullable=False),
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
    )
    op.create_index(
        "ix_idempotency_keys_created", "idempotency_keys", ["created_at"]
    )
