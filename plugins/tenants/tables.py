"""The SQL tables, on SQLite and PostgreSQL alike; names are keys, because ledger and budgets go by them and never change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

from gateway import Schema

metadata = MetaData()


def _terms() -> list[Column[Any]]:
    """What any level may carry; JSON as text, null for nothing said."""
    return [
        *(Column(name, Text) for name in ("limits", "models", "operations", "scopes", "metadata")),
        Column("expires_at", BigInteger),
    ]


def _life() -> list[Column[Any]]:
    """Seconds since 1970. The revision is that of the last change: nodes read only what is newer than they have."""
    return [
        Column("created_at", BigInteger, nullable=False),
        Column("disabled_at", BigInteger),
        Column("revision", BigInteger, nullable=False),
    ]


# One row, which every change counts up first: so writers wait for each other, and a revision that can be seen is complete.
revisions = Table(
    "tenants_revision",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("value", BigInteger, nullable=False),
)

tenants = Table(
    "tenants_tenant",
    metadata,
    Column("name", String(64), primary_key=True),
    *_terms(),
    Column("share", Double, nullable=False),
    Column("priority", Integer, nullable=False),
    *_life(),
    Index("tenants_tenant_revision", "revision"),
)

teams = Table(
    "tenants_team",
    metadata,
    Column("tenant", String(64), ForeignKey("tenants_tenant.name"), primary_key=True),
    Column("name", String(64), primary_key=True),
    *_terms(),
    *_life(),
    Index("tenants_team_revision", "revision"),
)

keys = Table(
    "tenants_key",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("name", String(64), nullable=False),
    Column("tenant", String(64), ForeignKey("tenants_tenant.name"), nullable=False),
    Column("team", String(64)),
    Column("sha256", LargeBinary(32), nullable=False),
    Column("retired", Text),
    Column("secret_at", BigInteger, nullable=False),
    *_terms(),
    *_life(),
    Column("revoked_at", BigInteger),
    ForeignKeyConstraint(["tenant", "team"], ["tenants_team.tenant", "tenants_team.name"]),
    Index("tenants_key_revision", "revision"),
    Index("tenants_key_tenant", "tenant", "team", "name"),
)

audit = Table(
    "tenants_audit",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("actor", String(200), nullable=False),
    Column("action", String(64), nullable=False),
    Column("tenant", String(64), nullable=False),
    Column("subject", String(250), nullable=False),
    Column("fields", Text, nullable=False),
    Index("tenants_audit_tenant", "tenant", "id"),
)

schema = Schema("tenants", Path(__file__).parent / "revisions", metadata)
