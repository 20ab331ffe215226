"""The history: what is written, that nobody forks it, and that nobody changes it by mistake."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.database import SqlDatabase
from policies.attribution.model_licence import tables
from policies.attribution.model_licence.history import ORIGIN, Head, Row, appending, digest_of, parse_head
from policies.attribution.model_licence.verifying import verify
from tests.unit.policies.attribution.model_licence.chain import ROWS, read, rehashed, write
from tests.unit.policies.attribution.model_licence.shop import ACTOR, NOW

WRITERS = 12


async def test_rows_follow_on_each_other(written: AsyncEngine) -> None:
    rows = await read(written)
    assert [row.sequence for row in rows] == list(range(1, ROWS + 1))
    assert [row.previous for row in rows] == [ORIGIN, *(row.digest for row in rows[:-1])]
    verdict = await verify(written)
    assert (verdict.rows, verdict.head) == (ROWS, Head(ROWS, rows[-1].digest))


async def test_an_empty_history_is_whole(engine: AsyncEngine) -> None:
    verdict = await verify(engine)
    assert (verdict.intact, verdict.rows, verdict.head) == (True, 0, Head(0, ORIGIN))


def test_no_two_rows_have_the_same_bytes() -> None:
    """What is moved from the end of one field to the start of the next is another row."""
    row = Row(
        sequence=1, at=1, actor="ab", action="c", subject="d", product="e", content="f", previous=ORIGIN, digest=""
    )
    others = [
        rehashed(row, actor="a", action="bc"),
        rehashed(row, action="cd", subject=""),
        rehashed(row, subject="", product="de"),
        rehashed(row, product="ef", content=""),
        rehashed(row, sequence=11, at=1),
        rehashed(row, sequence=1, at=11),
        rehashed(row, previous="1" * 64),
    ]
    assert len({digest_of(row), *(other.digest for other in others)}) == len(others) + 1


def test_a_digest_is_what_the_documented_form_makes() -> None:
    """Written down once, so that a later version cannot quietly make another of the same row."""
    row = Row(
        sequence=7,
        at=NOW,
        actor="Ä",
        action="attest",
        subject="s",
        product="p",
        content="{}",
        previous=ORIGIN,
        digest="",
    )
    assert digest_of(row) == "73243ebe4852c28f033847e7d54d03e61564c887a24fe1d7b72a0cb215b1e984"


async def test_a_change_that_fails_writes_nothing(written: AsyncEngine) -> None:
    async def fail() -> None:
        async with appending(written, ACTOR, NOW) as edit:
            await edit.append("attest", "s", "p", "{}")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    assert len(await read(written)) == ROWS
    assert (await verify(written)).intact


async def test_names_that_no_database_takes_are_written_all_the_same(engine: AsyncEngine) -> None:
    await write(engine, "{}", actor="a\0b\ud800" + "x" * 500)
    assert (await verify(engine)).intact
    assert (await read(engine))[0].actor.startswith("a\N{REPLACEMENT CHARACTER}b?xxx")


async def test_writers_at_once_make_one_chain(database_url: str) -> None:
    """Each on a database connection pool of its own, as gateways are."""
    databases = [SqlDatabase(database_url) for _ in range(4)]
    await databases[0].prepare([tables.schema], upgrade=True)
    try:
        work = [write(databases[n % 4].engine, f'{{"n":{n}}}', f'{{"n":{n}.5}}') for n in range(WRITERS)]
        await asyncio.gather(*work)
        verdict = await verify(databases[0].engine)
        assert (verdict.faults, verdict.rows) == ((), 2 * WRITERS)
        contents = [row.content for row in await read(databases[0].engine)]
        # What is written together stands together, and nothing is lost.
        assert {(contents[i], contents[i + 1]) for i in range(0, len(contents), 2)} == {
            (f'{{"n":{n}}}', f'{{"n":{n}.5}}') for n in range(WRITERS)
        }
    finally:
        for database in databases:
            await database.aclose()


@pytest.mark.parametrize(
    "statement", ["UPDATE model_licence_history SET content = '{}'", "DELETE FROM model_licence_history"]
)
async def test_history_is_not_changed_by_mistake(written: AsyncEngine, statement: str) -> None:
    with pytest.raises(DBAPIError, match="only ever appended to"):
        async with written.begin() as connection:
            await connection.execute(text(statement))
    assert (await verify(written)).intact


@pytest.mark.parametrize("wrong", ["", "12", "x:" + "0" * 64, "1:" + "0" * 63, "-1:" + "0" * 64, "1:" + "G" * 64])
def test_a_kept_head_that_is_none_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="no head"):
        parse_head(wrong)
