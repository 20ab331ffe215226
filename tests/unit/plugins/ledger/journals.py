"""What tests look at journals with."""

from __future__ import annotations

from pathlib import Path

from plugins.ledger.folders import JournalFolder, Position, adopt, candidates
from plugins.ledger.reading import Batch, read_batch
from plugins.ledger.writer import JournalWriter
from tests.unit.plugins.ledger.rows import Clock


def left_behind(root: Path) -> list[JournalFolder]:
    """The journals that nobody writes any more."""
    return [folder for path in candidates(root) if (folder := adopt(path)) is not None]


def read_all(folder: JournalFolder, most: int = 1_000_000) -> Batch:
    """All that is in a journal that nobody writes any more."""
    return read_batch(folder, Position(), None, most, Clock())


def ids_in(folder: JournalFolder) -> list[str]:
    """The calls in it; whatever is wrong with it fails."""
    batch = read_all(folder)
    assert batch.losses == []
    return [row.call_id for row in batch.rows]


def written_by(writer: JournalWriter) -> list[str]:
    """The calls in a living writer's journal."""
    if writer.folder is None:
        return []
    return [row.call_id for row in read_batch(writer.folder, Position(), writer.end, 1_000_000, Clock()).rows]
