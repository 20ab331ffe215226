"""The SQL tables, on SQLite and PostgreSQL alike: calls, daily sums, what is missing, and how far each journal was read."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, LargeBinary, MetaData, SmallInteger, Table, Text

from gateway import Schema

metadata = MetaData()


def _texts(*names: str) -> list[Column[object]]:
    """Texts; empty where there is nothing to say, so that they can be grouped by and compared."""
    return [Column(name, Text, nullable=False) for name in names]


def _numbers(*names: str) -> list[Column[object]]:
    """Numbers; null where nobody knows."""
    return [Column(name, BigInteger) for name in names]


def _sums() -> list[Column[object]]:
    return [Column(name, BigInteger, nullable=False) for name in SUMS]


# Of daily sums. Tokens and cost that nobody knows count as none; estimated_… is the part that engines did not report.
SUMS = (
    "calls",
    "estimated_calls",
    "unpriced_calls",
    "prompt_tokens",
    "cached_tokens",
    "completion_tokens",
    "reasoning_tokens",
    "estimated_tokens",
    "cost_nanos",
    "estimated_cost_nanos",
    "attempts",
    "total_us",
    "first_byte_us",
    "first_byte_calls",
    "queue_us",
)

# One row a call. `received_at` is milliseconds since 1970.
calls = Table(
    "ledger_calls",
    metadata,
    Column("call_id", Text, primary_key=True),
    Column("received_at", BigInteger, nullable=False),
    *_texts(
        "tenant", "team", "key_id", "user_id", "operation", "model", "checkpoint", "revision", "backend", "replica"
    ),
    Column("attempts", SmallInteger, nullable=False),
    *_numbers("prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens"),
    Column("estimated", Boolean, nullable=False),
    *_numbers("cost_nanos"),
    *_texts("currency"),
    *_numbers("queue_us", "first_byte_us", "total_us"),
    Column("status", SmallInteger, nullable=False),
    *_texts("ending", "error_code", "finish_reason", "arm", "attribution"),
    Column("streamed", Boolean, nullable=False),
    *_numbers("max_tokens"),
    Index("ledger_calls_received_at", "received_at"),
    Index("ledger_calls_tenant", "tenant", "received_at"),
)

# One row a day and combination; `id` is a digest of them, `day` counts from 1970-01-01 UTC.
days = Table(
    "ledger_days",
    metadata,
    Column("id", LargeBinary(16), primary_key=True),
    Column("day", Integer, nullable=False),
    *_texts("tenant", "team", "key_id", "operation", "model", "checkpoint", "revision", "backend", "replica"),
    Column("status_class", SmallInteger, nullable=False),
    *_texts("ending", "arm", "currency"),
    *_sums(),
    Index("ledger_days_day", "day"),
    Index("ledger_days_tenant", "tenant", "day"),
)

# End users apart: there may be as many as calls, and the other sums must stay few.
user_days = Table(
    "ledger_user_days",
    metadata,
    Column("id", LargeBinary(16), primary_key=True),
    Column("day", Integer, nullable=False),
    *_texts("tenant", "team", "key_id", "user_id", "operation", "model", "currency"),
    *_sums(),
    Index("ledger_user_days_day", "day"),
    Index("ledger_user_days_tenant", "tenant", "day"),
)

# What the ledger knows to be missing; see `reading.Loss`.
losses = Table(
    "ledger_losses",
    metadata,
    Column("journal", Text, primary_key=True),
    Column("segment", BigInteger, primary_key=True, autoincrement=False),
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("kind", Text, primary_key=True),
    Column("calls", BigInteger),
    Column("bytes", BigInteger, nullable=False),
    Column("since", BigInteger, nullable=False),
    Column("until", BigInteger, nullable=False),
    Index("ledger_losses_until", "until"),
)

# How far each journal has been read, kept in the transaction that takes what was read: so nothing counts twice.
journals = Table(
    "ledger_journals",
    metadata,
    Column("name", Text, primary_key=True),
    Column("segment", BigInteger, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("shipped_at", BigInteger, nullable=False),
)

schema = Schema("ledger", Path(__file__).parent / "revisions", metadata)
