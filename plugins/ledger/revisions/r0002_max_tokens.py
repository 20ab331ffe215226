"""How long an answer a call asked for; null in rows of before, and for calls that do not say."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "ledger_0002"
down_revision = "ledger_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column: no row is written anew for it."""
    op.add_column("ledger_calls", sa.Column("max_tokens", sa.BigInteger))


def downgrade() -> None:
    """Remove it, and what was in it."""
    op.drop_column("ledger_calls", "max_tokens")
