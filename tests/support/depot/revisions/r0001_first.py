"""Shelves and boxes."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "depot_shelf",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(40), nullable=False),
        sa.Column("weight", sa.Integer),
    )
    op.create_table(
        "depot_box",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column(
            "shelf",
            sa.Integer,
            sa.ForeignKey("depot_shelf.id", name="depot_box_shelf", ondelete="CASCADE"),
            nullable=False,
        ),
    )
