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

"""Add turns, slots, hashes and the list of workers.

The code of the release before may leave every new column out.

Revision ID: expand_0002
Revises: expand_0001
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "expand_0002"
down_revision = "expand_0001"
branch_labels = None
depends_on = None

ID = sa.String(64)
NAME = sa.String(255)
TIMESTAMP = sa.DateTime().with_variant(
    mysql.DATETIME(fsp=6), "mysql", "mariadb"
)


def upgrade() -> None:
    for column in (
        sa.Column("destination_image_name", NAME),
        sa.Column("bytes_per_second", sa.BigInteger()),
        sa.Column("turn", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("slot", sa.Integer()),
        sa.Column(
            "attempts_uncounted",
            sa.Integer(),
            nullable=False,
            server_default="0",
        ),
        sa.Column("verification_algorithm", ID),
        sa.Column("verification_source", NAME),
        sa.Column("verification_destination", NAME),
    ):
        op.add_column("jobs", column)
    for name, columns, unique in (
        ("ix_jobs_queue", ["status", "turn", "created_at", "id"], False),
        (
            "ix_jobs_region_queue",
            ["status", "destination_region_id", "turn", "created_at", "id"],
            False,
        ),
        (
            "ix_jobs_tenant_turn",
            ["source_tenant_id", "status", "destination_region_id", "turn"],
            False,
        ),
        ("uniq_jobs_region_slot", ["destination_region_id", "slot"], True),
        ("ix_jobs_reserved_image", ["reserved_image_id"], False),
        ("ix_jobs_finished", ["finished_at"], False),
    ):
        op.create_index(name, "jobs", columns, unique=unique)
    op.create_table(
        "workers",
        sa.Column("id", NAME, primary_key=True),
        sa.Column("host", NAME, nullable=False),
        sa.Column("version", ID, nullable=False),
        sa.Column("concurrency", sa.Integer(), nullable=False),
        sa.Column("destination_regions", sa.Text()),
        sa.Column("started_at", TIMESTAMP, nullable=False),
        sa.Column("seen_at", TIMESTAMP, nullable=False),
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
    )
