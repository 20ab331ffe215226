"""The first tables: calls, daily sums, losses, journals."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "ledger_0001"
down_revision = None
branch_labels = None
depends_on = None


def _texts(*names: str) -> list[sa.Column[object]]:
    return [sa.Column(name, sa.Text, nullable=False) for name in names]


def _numbers(*names: str, nullable: bool) -> list[sa.Column[object]]:
    return [sa.Column(name, sa.BigInteger, nullable=nullable) for name in names]


def _sums() -> list[sa.Column[object]]:
    return _numbers(
        *("calls", "estimated_calls", "unpriced_calls"),
        *("prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens", "estimated_tokens"),
        *("cost_nanos", "estimated_cost_nanos", "attempts"),
        *("total_us", "first_byte_us", "first_byte_calls", "queue_us"),
        nullable=False,
    )


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "ledger_calls",
        sa.Column("call_id", sa.Text, primary_key=True),
        sa.Column("received_at", sa.BigInteger, nullable=False),
        *_texts("tenant", "team", "key_id", "user_id", "operation", "model", "checkpoint", "revision"),
        *_texts("backend", "replica"),
        sa.Column("attempts", sa.SmallInteger, nullable=False),
        *_numbers("prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens", nullable=True),
        sa.Column("estimated", sa.Boolean, nullable=False),
        *_numbers("cost_nanos", nullable=True),
        *_texts("currency"),
        *_numbers("queue_us", "first_byte_us", "total_us", nullable=True),
        sa.Column("status", sa.SmallInteger, nullable=False),
        *_texts("ending", "error_code", "finish_reason", "arm", "attribution"),
        sa.Column("streamed", sa.Boolean, nullable=False),
    )
    op.create_table(
        "ledger_days",
        sa.Column("id", sa.LargeBinary(16), primary_key=True),
        sa.Column("day", sa.Integer, nullable=False),
        *_texts("tenant", "team", "key_id", "operation", "model", "checkpoint", "revision", "backend", "replica"),
        sa.Column("status_class", sa.SmallInteger, nullable=False),
        *_texts("ending", "arm", "currency"),
        *_sums(),
    )
    op.create_table(
        "ledger_user_days",
        sa.Column("id", sa.LargeBinary(16), primary_key=True),
        sa.Column("day", sa.Integer, nullable=False),
        *_texts("tenant", "team", "key_id", "user_id", "operation", "model", "currency"),
        *_sums(),
    )
    _losses_and_journals()
    op.create_index("ledger_calls_received_at", "ledger_calls", ["received_at"])
    op.create_index("ledger_calls_tenant", "ledger_calls", ["tenant", "received_at"])
    for table in ("ledger_days", "ledger_user_days"):
        op.create_index(f"{table}_day", table, ["day"])
        op.create_index(f"{table}_tenant", table, ["tenant", "day"])
    op.create_index("ledger_losses_until", "ledger_losses", ["until"])


def _losses_and_journals() -> None:
    op.create_table(
        "ledger_losses",
        sa.Column("journal", sa.Text, primary_key=True),
        sa.Column("segment", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("position", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("calls", sa.BigInteger),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("since", sa.BigInteger, nullable=False),
        sa.Column("until", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "ledger_journals",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("segment", sa.BigInteger, nullable=False),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("shipped_at", sa.BigInteger, nullable=False),
    )


def downgrade() -> None:
    """Remove the tables and all that is in them."""
    for table in ("journals", "losses", "user_days", "days", "calls"):
        op.drop_table(f"ledger_{table}")
