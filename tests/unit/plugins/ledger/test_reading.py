from __future__ import annotations

from pathlib import Path

import pytest

from plugins.ledger.folders import JournalFolder, Position, adopt, create
from plugins.ledger.frames import encode_frame
from plugins.ledger.reading import PIECE_BYTES, read_batch
from tests.unit.plugins.ledger.journals import read_all
from tests.unit.plugins.ledger.rows import NOON, make_frame


@pytest.fixture
def folder(tmp_path: Path) -> JournalFolder:
    return create(tmp_path)


def test_batches_go_on_from_file_to_file(folder: JournalFolder) -> None:
    for segment in (1, 2, 3):
        folder.segment(segment).write_bytes(b"".join(make_frame(f"{segment}-{number}") for number in range(5)))
    position, seen, sizes = Position(), [], []
    complete = False
    while not complete:
        batch = read_batch(folder, position, None, 4)
        seen += [row.call_id for row in batch.rows]
        sizes.append(len(batch.rows))
        position, complete = batch.position, batch.complete
    assert seen == [f"{segment}-{number}" for segment in (1, 2, 3) for number in range(5)]
    assert max(sizes) == 4


def test_a_file_that_grows_is_read_to_where_its_writer_says(folder: JournalFolder) -> None:
    first = make_frame("first")
    folder.segment(1).write_bytes(first + make_frame("second")[:50])
    batch = read_batch(folder, Position(), Position(1, len(first)), 100)
    assert ([row.call_id for row in batch.rows], batch.losses, batch.complete) == (["first"], [], True)
    assert batch.position == Position(1, len(first))


def test_a_torn_end_is_cut_off_and_told(folder: JournalFolder) -> None:
    first = make_frame("first", received_at=NOON + 7)
    folder.segment(1).write_bytes(first + make_frame("second")[:50])
    batch = read_all(folder)
    assert [row.call_id for row in batch.rows] == ["first"]
    (loss,) = batch.losses
    assert (loss.kind, loss.segment, loss.offset, loss.length, loss.calls) == ("torn", 1, len(first), 50, None)
    assert loss.since == loss.until == NOON + 7
    assert (batch.complete, batch.damaged_segments) == (True, frozenset())


def test_damage_in_the_middle_is_skipped_told_and_kept(folder: JournalFolder) -> None:
    frames = [make_frame(f"call-{number}") for number in range(4)]
    frames[1] = b"\0" + frames[1][1:]
    frames[2] = frames[2][:-1] + bytes([frames[2][-1] ^ 1])
    folder.segment(7).write_bytes(b"".join(frames))
    batch = read_all(folder)
    assert [row.call_id for row in batch.rows] == ["call-0", "call-3"]
    assert [(loss.kind, loss.length) for loss in batch.losses] == [("damaged", len(frames[1]) + len(frames[2]))]
    assert batch.damaged_segments == {7}
    folder.copy_aside(7)
    (kept,) = (folder.path.parent / "damaged").iterdir()
    assert kept.read_bytes() == b"".join(frames)


def test_damage_longer_than_a_piece_is_read_over(folder: JournalFolder) -> None:
    folder.segment(1).write_bytes(make_frame("first") + b"x" * (PIECE_BYTES + 10) + make_frame("last"))
    batch = read_all(folder)
    assert [row.call_id for row in batch.rows] == ["first", "last"]
    assert [(loss.kind, loss.length) for loss in batch.losses] == [("damaged", PIECE_BYTES + 10)]


def test_frames_across_the_end_of_a_piece_are_whole(folder: JournalFolder) -> None:
    frame = make_frame("x", attribution="y" * 50_000)
    count = 3 * PIECE_BYTES // len(frame)
    folder.segment(1).write_bytes(frame * count)
    batch = read_all(folder)
    assert (len(batch.rows), batch.losses) == (count, [])


def test_what_a_later_version_wrote_is_told_and_kept(folder: JournalFolder) -> None:
    folder.segment(1).write_bytes(encode_frame(b"\x93\xa1z\x01\x02") + make_frame("known"))
    batch = read_all(folder)
    assert [row.call_id for row in batch.rows] == ["known"]
    assert [loss.kind for loss in batch.losses] == ["unreadable"]
    assert batch.damaged_segments == {1}


def test_a_folder_is_held_by_one(tmp_path: Path, folder: JournalFolder) -> None:
    assert adopt(folder.path) is None
    folder.release()
    second = adopt(folder.path)
    assert second is not None
    assert adopt(folder.path) is None
    second.remove()
    assert list(tmp_path.iterdir()) == []
    assert adopt(folder.path) is None


def test_a_file_that_somebody_removed_is_told_once(folder: JournalFolder) -> None:
    for segment in (3, 4, 6):
        folder.segment(segment).write_bytes(make_frame(f"{segment}-a") + make_frame(f"{segment}-b"))
    folder.segment(4).unlink()
    position, seen, losses = Position(3, len(make_frame("3-a"))), [], []
    complete = False
    while not complete:
        batch = read_batch(folder, position, None, 1)
        seen += [row.call_id for row in batch.rows]
        losses += [(loss.kind, loss.segment) for loss in batch.losses]
        position, complete = batch.position, batch.complete
    assert seen == ["3-b", "6-a", "6-b"]
    assert losses == [("damaged", 4), ("damaged", 5)]
    folder.segment(3).unlink()
    assert [loss.segment for loss in read_batch(folder, Position(3, 5), None, 9).losses] == [3, 4, 5]
    assert read_all(folder).losses == []  # a database that has never seen the journal cannot miss its beginning
