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

"""Create the table of jobs.

Revision ID: expand_0001
Revises: nothing
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "expand_0001"
down_revision = None
branch_labels = ("expand",)
depends_on = None

ID = sa.String(64)
NAME = sa.String(255)
UUID = sa.String(36)
TIMESTAMP = sa.DateTime().with_variant(
    mysql.DATETIME(fsp=6), "mysql", "mariadb"
)


def upgrade() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", UUID, primary_key=True),
        sa.Column("status", sa.String(32), nullable=False),
        sa.Column("active", sa.Boolean()),
        sa.Column("source_image_id", UUID, nullable=False),
        sa.Column("source_image_name", NAME, nullable=False),
        sa.Column("source_region_id", NAME, nullable=False),
        sa.Column("source_tenant_id", ID, nullable=False),
        sa.Column("destination_image_id", UUID),
        sa.Column("destination_region_id", NAME, nullable=False),
        sa.Column("destination_tenant_id", ID, nullable=False),
        sa.Column("reserved_image_id", UUID),
        sa.Column("image_size", sa.BigInteger(), nullable=False),
        sa.Column("bytes_copied", sa.BigInteger(), nullable=False),
        sa.Column("worker_id", NAME),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("lease_expires_at", TIMESTAMP),
        sa.Column("retry_at", TIMESTAMP),
        sa.Column("error_code", sa.String(64)),
        sa.Column("error_message", sa.Text()),
        sa.Column("request_id", ID, nullable=False),
        sa.Column("created_at", TIMESTAMP, nullable=False),
        sa.Column("updated_at", TIMESTAMP, nullable=False),
        sa.Column("started_at", TIMESTAMP),
        sa.Column("finished_at", TIMESTAMP),
        sa.UniqueConstraint(
            "source_image_id",
            "destination_tenant_id",
            "destination_region_id",
            "source_region_id",
            "active",
            name="uniq_jobs_active_copy",
        ),
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
    )
    for name, columns in (
        ("ix_jobs_created", ["created_at", "id"]),
        ("ix_jobs_source_tenant", ["source_tenant_id", "created_at", "id"]),
        (
            "ix_jobs_destination_tenant",
            ["destination_tenant_id", "created_at", "id"],
        ),
        ("ix_jobs_status", ["status", "created_at", "id"]),
        ("ix_jobs_lease", ["lease_expires_at"]),
    ):
        op.create_index(name, "jobs", columns)
