from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from plugins.ledger.folders import Position
from plugins.ledger.reading import read_batch
from plugins.ledger.writer import MOST_WAITING_BYTES, JournalWriter
from tests.unit.plugins.ledger.journals import ids_in, left_behind, read_all, written_by
from tests.unit.plugins.ledger.rows import NOON, Clock, make_frame, make_settings


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """The system takes no more than so many bytes of any file: what a full disk does, and as that does, in mid-frame."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def fill(writer: JournalWriter, count: int, prefix: str = "call") -> list[str]:
    ids = [f"{prefix}-{number}" for number in range(count)]
    for call_id in ids:
        writer.append(make_frame(call_id))
    return ids


def test_what_is_written_is_there_at_once_and_in_order(tmp_path: Path) -> None:
    writer = JournalWriter(make_settings(tmp_path))
    ids = fill(writer, 20)
    assert written_by(writer) == ids
    writer.close()
    (folder,) = left_behind(tmp_path / "ledger")
    assert ids_in(folder) == ids


def test_files_are_begun_anew_at_their_size_and_frames_are_never_split(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    writer = JournalWriter(settings)
    ids = fill(writer, 1_000)
    assert writer.folder is not None
    segments = writer.folder.segments()
    assert len(segments) >= 3
    assert all(writer.folder.segment(number).stat().st_size <= settings.segment_bytes for number in segments)
    assert written_by(writer) == ids
    writer.close()


@pytest.mark.parametrize("limit", [1, 700, 1_000, 1_001])
def test_what_a_full_disk_does_not_take_waits_and_nothing_is_torn(tmp_path: Path, limit: int) -> None:
    writer = JournalWriter(make_settings(tmp_path))
    writer.open()
    with largest_file(limit):
        ids = fill(writer, 10)
        assert writer.trouble in {"File too large", "the disk took a part of a frame"}
        assert writer.refusing
        writer.tick()
        assert writer.refusing
    writer.tick()
    assert (writer.trouble, writer.refusing, writer.lost) == (None, False, 0)
    ids += fill(writer, 3, "after")
    assert sorted(written_by(writer)) == sorted(ids)
    writer.close()
    (folder,) = left_behind(tmp_path / "ledger")
    assert sorted(ids_in(folder)) == sorted(ids)


def test_a_stop_writes_what_waits(tmp_path: Path) -> None:
    writer = JournalWriter(make_settings(tmp_path))
    with largest_file(500):
        ids = fill(writer, 10)
    writer.close()
    (folder,) = left_behind(tmp_path / "ledger")
    assert sorted(ids_in(folder)) == sorted(ids)


def test_what_memory_does_not_take_either_is_counted_and_the_journal_says_so(tmp_path: Path) -> None:
    clock = Clock()
    writer = JournalWriter(make_settings(tmp_path, on_full="drop", max_bytes=16 * 2**20), clock=clock)
    frame = make_frame("x", attribution="y" * 60_000)
    kept = MOST_WAITING_BYTES // len(frame)
    writer.open()
    with largest_file(1):
        for _ in range(kept + 5):
            writer.append(frame)
        clock.ms += 60_000
        writer.append(frame)
        assert writer.lost == 6
        assert not writer.refusing
    writer.tick()
    writer.close()
    (folder,) = left_behind(tmp_path / "ledger")
    batch = read_all(folder)
    assert len(batch.rows) == kept
    (gap,) = batch.losses
    assert (gap.kind, gap.calls, gap.since, gap.until) == ("lost", 6, NOON, NOON + 60_000)


def test_at_the_bound_new_calls_are_refused_and_those_begun_are_still_written(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, segment_bytes=65_536, max_bytes=131_072)
    writer = JournalWriter(settings)
    while not writer.refusing:
        writer.append(make_frame("early"))
    assert writer.trouble is None
    assert writer.bytes_on_disk <= settings.max_bytes + 1_000
    before = writer.written
    writer.append(make_frame("begun before"))
    assert writer.written == before + 1
    writer.count_refused()
    assert writer.folder is not None
    # The database has taken the first file: there is room again, and the journal tells of the call that was refused.
    writer.folder.segment(1).unlink()
    writer.forget_before(2)
    assert not writer.refusing
    writer.tick()
    batch = read_batch(writer.folder, Position(2), writer.end, 100_000)
    assert [(loss.kind, loss.calls) for loss in batch.losses] == [("refused", 1)]
    writer.close()


def test_the_bound_holds_whoever_goes_on(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, segment_bytes=65_536, max_bytes=131_072, on_full="drop")
    writer = JournalWriter(settings)
    while writer.trouble is None:
        writer.append(make_frame("x"))
    assert writer.folder is not None
    assert sum(file.stat().st_size for file in writer.folder.path.iterdir()) <= settings.max_bytes
    assert not writer.refusing
    writer.close()


def test_a_disk_that_is_nearly_full_is_left_alone(tmp_path: Path) -> None:
    refusing = JournalWriter(make_settings(tmp_path / "a", min_free_bytes=2**60))
    dropping = JournalWriter(make_settings(tmp_path / "b", min_free_bytes=2**60, on_full="drop"))
    for writer in (refusing, dropping):
        writer.open()
        writer.tick()
        fill(writer, 2)
    assert (refusing.refusing, refusing.written) == (True, 2)
    assert (dropping.refusing, dropping.written, dropping.trouble) == (False, 0, "min_free_bytes is reached")
    refusing.close()
    dropping.close()


def test_a_folder_that_cannot_be_made_is_trouble_and_no_crash(tmp_path: Path) -> None:
    (tmp_path / "ledger").write_text("a file")
    writer = JournalWriter(make_settings(tmp_path))
    fill(writer, 1)
    assert writer.trouble == "File exists"
    (tmp_path / "ledger").unlink()
    writer.tick()
    assert written_by(writer) == ["call-0"]
    writer.close()


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("fsync", ["never", "interval", "always"])
def test_no_file_stays_open(tmp_path: Path, fsync: str) -> None:
    before = open_files()
    writer = JournalWriter(make_settings(tmp_path, fsync=fsync))
    fill(writer, 1_000)
    writer.syncing.sync()
    assert open_files() == before + 2  # the file and the folder's lock
    writer.close()
    assert open_files() == before
    assert writer.syncing.failed == 0


def test_journals_are_for_their_owner_only(tmp_path: Path) -> None:
    writer = JournalWriter(make_settings(tmp_path))
    fill(writer, 1)
    assert writer.folder is not None
    assert writer.folder.path.parent.stat().st_mode & 0o077 == 0
    assert all(file.stat().st_mode & 0o077 == 0 for file in writer.folder.path.iterdir())
    writer.close()
