"""The SQL tables, on SQLite and PostgreSQL alike: the history of all that was said of products, and where it ends."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import BigInteger, Column, Index, Integer, MetaData, String, Table, Text, UniqueConstraint

from gateway import Schema

metadata = MetaData()

# One row, which every change locks first: so writers wait for each other and the chain cannot fork. Nodes poll it.
head = Table(
    "model_licence_head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("sequence", BigInteger, nullable=False),
    Column("digest", String(64), nullable=False),
)

# A row a change, never changed itself; a trigger refuses to. There is no table of products beside it: what holds is what
# the rows say one after the other, so nothing can hold that the history does not tell.
# `at` is seconds since 1970. `content` is JSON: what holds from then on, whole. `digest` covers all of it and `previous`,
# the digest of the row before; that is unique, so that a database never holds two rows that follow on the same one.
history = Table(
    "model_licence_history",
    metadata,
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("at", BigInteger, nullable=False),
    Column("actor", String(200), nullable=False),
    Column("action", String(32), nullable=False),
    Column("subject", String(300), nullable=False),
    Column("product", String(128), nullable=False),
    Column("content", Text, nullable=False),
    Column("previous", String(64), nullable=False),
    Column("digest", String(64), nullable=False),
    UniqueConstraint("previous", name="model_licence_history_previous"),
    Index("model_licence_history_subject", "subject", "sequence"),
    Index("model_licence_history_product", "product", "sequence"),
)

schema = Schema("model_licence", Path(__file__).parent / "revisions", metadata)
