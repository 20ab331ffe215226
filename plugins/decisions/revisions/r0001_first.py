"""The first table: sampled calls."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "decisions_0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "decisions_calls",
        sa.Column("call_id", sa.Text, primary_key=True),
        sa.Column("received_at", sa.BigInteger, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("record", sa.Text, nullable=False),
    )
    op.create_index("decisions_calls_received_at", "decisions_calls", ["received_at"])
