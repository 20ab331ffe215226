"""The first tables: the history, append-only, and where it ends."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "model_licence_0001"
down_revision = None
branch_labels = None
depends_on = None

_REFUSAL = "model_licence_history is only ever appended to"


def upgrade() -> None:
    """Make the tables, the row of the head, and what refuses to change history by mistake."""
    head = op.create_table(
        "model_licence_head",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
    )
    op.bulk_insert(head, [{"id": 1, "sequence": 0, "digest": "0" * 64}])
    op.create_table(
        "model_licence_history",
        sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("actor", sa.String(200), nullable=False),
        sa.Column("action", sa.String(32), nullable=False),
        sa.Column("subject", sa.String(300), nullable=False),
        sa.Column("product", sa.String(128), nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("previous", sa.String(64), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.UniqueConstraint("previous", name="model_licence_history_previous"),
    )
    op.create_index("model_licence_history_subject", "model_licence_history", ["subject", "sequence"])
    op.create_index("model_licence_history_product", "model_licence_history", ["product", "sequence"])
    if op.get_context().dialect.name == "postgresql":
        _refuse_on_postgresql()
    else:
        _refuse_on_sqlite()


def _refuse_on_postgresql() -> None:
    op.execute(
        "CREATE FUNCTION model_licence_refuse() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{_REFUSAL}'; END $$"
    )
    op.execute(
        "CREATE TRIGGER model_licence_history_refuse BEFORE UPDATE OR DELETE OR TRUNCATE ON model_licence_history "
        "FOR EACH STATEMENT EXECUTE FUNCTION model_licence_refuse()"
    )


def _refuse_on_sqlite() -> None:
    for what in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER model_licence_history_{what.lower()} BEFORE {what} ON model_licence_history "
            f"BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END"
        )


def downgrade() -> None:
    """Remove the tables and all that is in them."""
    op.drop_table("model_licence_history")
    if op.get_context().dialect.name == "postgresql":
        op.execute("DROP FUNCTION model_licence_refuse()")
    op.drop_table("model_licence_head")
