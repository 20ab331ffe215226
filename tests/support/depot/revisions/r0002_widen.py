"""Weights may be large, and names are found quickly."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    with op.batch_alter_table("depot_shelf") as shelf:
        shelf.alter_column("weight", existing_type=sa.Integer(), type_=sa.BigInteger())
        shelf.create_index("depot_shelf_name", ["name"], unique=True)
