"""A small schema of the tests' own, and what can be done to it."""

from __future__ import annotations

import shutil
from pathlib import Path

import sqlalchemy as sa

from gateway import Schema

REVISIONS = Path(__file__).parent / "revisions"

metadata = sa.MetaData()

shelves = sa.Table(
    "depot_shelf",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.String(40), nullable=False),
    sa.Column("weight", sa.BigInteger),
    sa.Index("depot_shelf_name", "name", unique=True),
)
boxes = sa.Table(
    "depot_box",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column(
        "shelf", sa.Integer, sa.ForeignKey("depot_shelf.id", name="depot_box_shelf", ondelete="CASCADE"), nullable=False
    ),
)

depot = Schema("depot", REVISIONS, metadata)


def with_revisions(folder: Path, *names: str, **added: str) -> Schema:
    """The schema with some of its revisions, and others that are given as text."""
    folder.mkdir()
    for name in names:
        shutil.copy(REVISIONS / f"{name}.py", folder)
    for name, text in added.items():
        (folder / f"{name}.py").write_text(text)
    return Schema("depot", folder, metadata)


def first_only(folder: Path) -> Schema:
    """The schema as it was once."""
    return with_revisions(folder, "r0001_first")
