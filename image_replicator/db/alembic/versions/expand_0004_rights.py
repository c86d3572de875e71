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

"""Add the rights of users with which copies are made.

Revision ID: expand_0004
Revises: expand_0003
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "expand_0004"
down_revision = "expand_0003"
branch_labels = None
depends_on = None

_TIMESTAMP = sa.DateTime().with_variant(
    mysql.DATETIME(fsp=6), "mysql", "mariadb"
)


def upgrade() -> None:
    op.create_table(
        "delegations",
        sa.Column("trust_id", sa.String(64), primary_key=True),
        sa.Column("user_id", sa.String(64), nullable=False),
        sa.Column("project_id", sa.String(64), nullable=False),
        sa.Column("roles", sa.String(64), nullable=False),
        sa.Column("role_names", sa.Text(), nullable=False),
        sa.Column("expires_at", _TIMESTAMP),
        sa.Column("used_at", _TIMESTAMP, nullable=False),
        sa.UniqueConstraint(
            "user_id", "project_id", "roles", name="uniq_delegations_roles"
        ),
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
    )
    op.create_index("ix_delegations_used", "delegations", ["used_at"])
    op.create_table(
        "authorities",
        sa.Column("job_id", sa.String(36), primary_key=True),
        sa.Column("user_id", sa.String(64), nullable=False),
        sa.Column("source_owner_id", sa.String(64)),
        sa.Column("source_trust_id", sa.String(64)),
        sa.Column("destination_trust_id", sa.String(64)),
        sa.Column("sealed_token", sa.Text()),
        sa.Column("token_expires_at", _TIMESTAMP),
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
    )
    op.create_index(
        "ix_authorities_source_trust", "authorities", ["source_trust_id"]
    )
    op.create_index(
        "ix_authorities_destination_trust",
        "authorities",
        ["destination_trust_id"],
    )
    op.create_table(
        "key_holders",
        sa.Column("host", sa.String(255), primary_key=True),
        sa.Column("fingerprints", sa.Text(), nullable=False),
        sa.Column("seen_at", _TIMESTAMP, nullable=False),
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
    )
