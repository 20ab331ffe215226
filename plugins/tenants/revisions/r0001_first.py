"""The first tables: revision counter, tenants, teams, keys, audit."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "tenants_0001"
down_revision = None
branch_labels = None
depends_on = None


def _terms() -> list[sa.Column[Any]]:
    return [
        *(sa.Column(name, sa.Text) for name in ("limits", "models", "operations", "scopes", "metadata")),
        sa.Column("expires_at", sa.BigInteger),
    ]


def _life() -> list[sa.Column[Any]]:
    return [
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("disabled_at", sa.BigInteger),
        sa.Column("revision", sa.BigInteger, nullable=False),
    ]


def upgrade() -> None:
    """Make the tables, and the row that counts changes."""
    revisions = op.create_table(
        "tenants_revision",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("value", sa.BigInteger, nullable=False),
    )
    op.bulk_insert(revisions, [{"id": 1, "value": 0}])
    op.create_table(
        "tenants_tenant",
        sa.Column("name", sa.String(64), primary_key=True),
        *_terms(),
        sa.Column("share", sa.Double, nullable=False),
        sa.Column("priority", sa.Integer, nullable=False),
        *_life(),
    )
    op.create_table(
        "tenants_team",
        sa.Column("tenant", sa.String(64), sa.ForeignKey("tenants_tenant.name"), primary_key=True),
        sa.Column("name", sa.String(64), primary_key=True),
        *_terms(),
        *_life(),
    )
    _keys_and_audit()
    for table in ("tenant", "team", "key"):
        op.create_index(f"tenants_{table}_revision", f"tenants_{table}", ["revision"])
    op.create_index("tenants_key_tenant", "tenants_key", ["tenant", "team", "name"])
    op.create_index("tenants_audit_tenant", "tenants_audit", ["tenant", "id"])


def _keys_and_audit() -> None:
    op.create_table(
        "tenants_key",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("tenant", sa.String(64), sa.ForeignKey("tenants_tenant.name"), nullable=False),
        sa.Column("team", sa.String(64)),
        sa.Column("sha256", sa.LargeBinary(32), nullable=False),
        sa.Column("retired", sa.Text),
        sa.Column("secret_at", sa.BigInteger, nullable=False),
        *_terms(),
        *_life(),
        sa.Column("revoked_at", sa.BigInteger),
        sa.ForeignKeyConstraint(["tenant", "team"], ["tenants_team.tenant", "tenants_team.name"]),
    )
    op.create_table(
        "tenants_audit",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("actor", sa.String(200), nullable=False),
        sa.Column("action", sa.String(64), nullable=False),
        sa.Column("tenant", sa.String(64), nullable=False),
        sa.Column("subject", sa.String(250), nullable=False),
        sa.Column("fields", sa.Text, nullable=False),
    )


def downgrade() -> None:
    """Remove the tables and all that is in them."""
    for table in ("audit", "key", "team", "tenant", "revision"):
        op.drop_table(f"tenants_{table}")
