"""The SQL table of sampled calls, on SQLite and PostgreSQL alike."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import BigInteger, Column, Index, MetaData, Table, Text

from gateway import Schema

metadata = MetaData()

# `received_at` is milliseconds since 1970; `record` is a `CallRecord` as JSON.
calls = Table(
    "decisions_calls",
    metadata,
    Column("call_id", Text, primary_key=True),
    Column("received_at", BigInteger, nullable=False),
    Column("model", Text, nullable=False),
    Column("record", Text, nullable=False),
    Index("decisions_calls_received_at", "received_at"),
)

schema = Schema("decisions", Path(__file__).parent / "revisions", metadata)
