"""The SQL tables of live experiments, on SQLite and PostgreSQL alike."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import BigInteger, Column, LargeBinary, MetaData, Table, Text

from gateway import Schema

metadata = MetaData()

# One row for each that was declared by the admin API (`settings`), stopped or rolled back: what all nodes go by. `settings` and
# `status` are JSON, `changed_at` is milliseconds since 1970.
experiments = Table(
    "experiments_declared",
    metadata,
    Column("name", Text, primary_key=True),
    Column("settings", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("changed_at", BigInteger, nullable=False),
)

# What each node has seen, as MessagePack.
tallies = Table(
    "experiments_tallies",
    metadata,
    Column("name", Text, primary_key=True),
    Column("node", Text, primary_key=True),
    Column("saved", LargeBinary, nullable=False),
    Column("changed_at", BigInteger, nullable=False),
)

schema = Schema("experiments", Path(__file__).parent / "revisions", metadata)
