"""The history: whatever is done to it by those who own the database shows."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from policies.attribution.model_licence import tables
from policies.attribution.model_licence.failures import HistoryBroken
from policies.attribution.model_licence.history import ORIGIN, Head, parse_head
from policies.attribution.model_licence.verifying import MOST_FAULTS, verify
from tests.unit.policies.attribution.model_licence.chain import ROWS, faults, put, read, rehashed, tamper, write


@pytest.mark.parametrize(
    "change",
    [
        "content = '{\"n\" :2}'",
        "actor = 'nobody'",
        "at = at + 1",
        "action = 'evidence'",
        "subject = 'x'",
        "product = 'y'",
    ],
)
async def test_an_edited_row_is_found(written: AsyncEngine, change: str) -> None:
    await tamper(written, f"UPDATE model_licence_history SET {change.replace(':', chr(92) + ':')} WHERE sequence = 3")
    assert faults(await verify(written)) == [("edited", (3, 3))]


async def test_an_edited_row_with_a_new_digest_is_found_by_the_next(written: AsyncEngine) -> None:
    third = (await read(written))[2]
    forged = rehashed(third, content='{"n":99}')
    await tamper(written, "DELETE FROM model_licence_history WHERE sequence = 3")
    await put(written, forged)
    assert faults(await verify(written)) == [("replaced", (4, 4))]


async def test_an_edited_last_row_is_found_by_the_head(written: AsyncEngine) -> None:
    last = (await read(written))[-1]
    await tamper(written, f"DELETE FROM model_licence_history WHERE sequence = {ROWS}")
    await put(written, rehashed(last, content='{"n":99}'))
    assert faults(await verify(written)) == [("head", (ROWS, ROWS))]


async def test_missing_rows_are_named(written: AsyncEngine) -> None:
    await tamper(written, "DELETE FROM model_licence_history WHERE sequence IN (1, 3, 4)")
    assert faults(await verify(written)) == [("missing", (1, 1)), ("missing", (3, 4))]


async def test_a_row_that_was_closed_up_is_found(written: AsyncEngine) -> None:
    """Deleted, and the later ones numbered anew."""
    await tamper(
        written,
        "DELETE FROM model_licence_history WHERE sequence = 5",
        "UPDATE model_licence_history SET sequence = 5 WHERE sequence = 6",
    )
    assert faults(await verify(written)) == [("edited", (5, 5)), ("replaced", (5, 5)), ("missing", (6, 6))]


async def test_rows_that_changed_places_are_found(written: AsyncEngine) -> None:
    await tamper(
        written,
        "UPDATE model_licence_history SET sequence = 100 WHERE sequence = 2",
        "UPDATE model_licence_history SET sequence = 2 WHERE sequence = 3",
        "UPDATE model_licence_history SET sequence = 3 WHERE sequence = 100",
    )
    found = faults(await verify(written))
    assert [fault for fault in found if fault[0] == "edited"] == [("edited", (2, 2)), ("edited", (3, 3))]


async def test_a_row_behind_the_head_is_found(written: AsyncEngine) -> None:
    last = (await read(written))[-1]
    await put(written, rehashed(last, sequence=ROWS + 1, previous=last.digest))
    assert faults(await verify(written)) == [("inserted", (ROWS + 1, ROWS + 1))]


async def test_a_row_before_the_first_is_found(written: AsyncEngine) -> None:
    first = (await read(written))[0]
    await put(written, rehashed(first, sequence=0, previous="1" * 64))
    assert faults(await verify(written)) == [("inserted", (0, 0))]


async def test_two_rows_never_follow_on_the_same_one(written: AsyncEngine) -> None:
    last = (await read(written))[-1]
    with pytest.raises(DBAPIError):
        await put(written, rehashed(last, sequence=ROWS + 1))


async def test_a_cut_end_is_found_by_the_head(written: AsyncEngine) -> None:
    await tamper(written, f"DELETE FROM model_licence_history WHERE sequence > {ROWS - 2}")
    assert faults(await verify(written)) == [("missing", (ROWS - 1, ROWS))]


async def test_an_end_that_was_cut_with_its_head_shows_against_a_kept_one_only(written: AsyncEngine) -> None:
    kept = (await verify(written)).head
    assert kept is not None
    before = (await read(written))[-2]
    await tamper(
        written,
        f"DELETE FROM model_licence_history WHERE sequence = {ROWS}",
        f"UPDATE model_licence_head SET sequence = {ROWS - 1}, digest = '{before.digest}'",
    )
    alone = await verify(written)
    assert alone.intact
    assert "could have cut off the end" in alone.not_known
    verdict = await verify(written, [parse_head(str(kept)), Head(before.sequence, before.digest)])
    assert faults(verdict) == [("kept head", (ROWS, ROWS))]
    assert verdict.kept == (Head(before.sequence, before.digest),)


async def test_a_history_that_was_written_anew_shows_against_a_kept_head(written: AsyncEngine) -> None:
    kept = (await verify(written)).head
    assert kept is not None
    await tamper(
        written,
        "DELETE FROM model_licence_history",
        f"UPDATE model_licence_head SET sequence = 0, digest = '{ORIGIN}'",
    )
    await write(written, *(f'{{"m":{n}}}' for n in range(ROWS)))
    assert (await verify(written)).intact
    assert faults(await verify(written, [kept])) == [("kept head", (ROWS, ROWS))]


async def test_a_kept_head_holds_as_the_history_grows(written: AsyncEngine) -> None:
    kept = (await verify(written)).head
    assert kept is not None
    await write(written, "{}")
    verdict = await verify(written, [kept])
    assert (verdict.intact, verdict.kept) == (True, (kept,))


async def test_a_lost_head_is_found_and_nothing_is_appended(written: AsyncEngine) -> None:
    await tamper(written, "DELETE FROM model_licence_head")
    assert faults(await verify(written)) == [("head", (0, 0))]
    with pytest.raises(HistoryBroken, match="audit verify"):
        await write(written, "{}")


async def test_nothing_is_appended_to_an_end_that_others_changed(written: AsyncEngine) -> None:
    await tamper(written, f"DELETE FROM model_licence_history WHERE sequence = {ROWS}")
    with pytest.raises(HistoryBroken, match="audit verify"):
        await write(written, "{}")
    async with written.connect() as connection:
        assert await connection.scalar(select(func.count()).select_from(tables.history)) == ROWS - 1


async def test_faults_are_bounded(engine: AsyncEngine) -> None:
    count = MOST_FAULTS + 50
    await write(engine, *("{}" for _ in range(count)))
    await tamper(engine, "UPDATE model_licence_history SET actor = 'nobody'")
    verdict = await verify(engine)
    assert len(verdict.faults) == MOST_FAULTS + 1
    assert verdict.faults[-1].kind == "more"
