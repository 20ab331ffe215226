"""The monthly report: what it tells of a month that was made up, to the letter, and what it says that it does not know."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import insert, text
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.database import SqlDatabase
from gateway.errors import InvalidRequest
from plugins.ledger import tables as ledger
from policies.attribution.model_licence.desk import Desk, build_desk
from policies.attribution.model_licence.emitted import Emitted
from policies.attribution.model_licence.records import LicenceRecord
from policies.attribution.model_licence.report import Report, month_bounds, report
from policies.attribution.model_licence.report_formats import Format, write
from policies.attribution.model_licence.states import State
from policies.attribution.model_licence.tables import schema
from tests.unit.policies.attribution.model_licence.shop import ACTOR, Clock, members, new, patch, proof, size

GOLDEN = Path(__file__).parent / "golden"
DIGEST = "0123456789abcdef" * 4


def moment(text: str) -> int:
    return int(dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC).timestamp())


def record(name: str, string: str) -> LicenceRecord:
    display = {
        "string": string,
        "verified": True,
        "where": "everywhere",
        "thresholds": [{"quantity": "monthly_active_users", "amount": 100_000_000, "comparison": "over"}],
    }
    said = {"id": name, "title": name, "spdx": "MIT", "verified": True, "derivatives": "inherit", "summary": "x"}
    return msgspec.convert({**said, "display": display}, LicenceRecord)


RECORDS = {each.id: each for each in (record("kimi-k2", "Kimi K2"), record("kimi-k2.5", "Kimi K2.5"))}


class Book:
    """A ledger that a test writes into."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._count = 0

    async def call(self, at: str, attribution: str, **said: Any) -> None:
        self._count += 1
        row = {column.name: "" for column in ledger.calls.columns}
        row |= dict.fromkeys(("cost_nanos", "queue_us", "first_byte_us", "total_us", "max_tokens", "cached_tokens"))
        row |= {
            "call_id": str(self._count), "received_at": moment(at) * 1_000, "attempts": 1, "status": 200, "streamed": False,
            "estimated": False, "prompt_tokens": 100, "completion_tokens": 10, "reasoning_tokens": 0,
            "model": "kimi", "checkpoint": "moonshotai/Kimi-K2-Instruct", "revision": "main", "attribution": attribution,
        }  # fmt: skip
        async with self._engine.begin() as connection:
            await connection.execute(insert(ledger.calls).values(**{**row, **said}))

    async def open(self) -> None:
        async with self._engine.begin() as connection:
            values = {"name": "a", "segment": 1, "position": 1, "shipped_at": 1}
            await connection.execute(insert(ledger.journals).values(**values))


def emitted(product: str | None, licence: str, state: State, mode: str = "annotate", **said: Any) -> str:
    display = RECORDS[licence].display
    assert display is not None
    return Emitted(
        product=product, licence=licence, digest=RECORDS[licence].digest[:16], state=state, mode=mode,
        shown=display.string, **said,
    ).text()  # fmt: skip


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    """With the ledger's tables as well."""
    database = SqlDatabase(database_url)
    await database.prepare([schema, ledger.schema], upgrade=True)
    yield database.engine
    await database.aclose()


@pytest.fixture
def desk(engine: AsyncEngine, clock: Clock) -> Desk:
    made = build_desk(engine, records=RECORDS)
    made.directory.clock = clock
    return made


@pytest.fixture
async def book(engine: AsyncEngine) -> Book:
    found = Book(engine)
    await found.open()
    return found


async def november(desk: Desk, book: Book, clock: Clock) -> Report:
    """A product that grows over the threshold in the middle of the month and shows the string a week later."""
    directory = desk.directory
    clock.now = moment("2026-10-05")
    await directory.add(ACTOR, new(owner="Shop | team", url="https://shop.example"))
    await directory.add(ACTOR, new("desk", audience="internal"))
    await directory.assign(ACTOR, "shop", members({"tenant": "acme", "team": "shop"}))
    clock.now = moment("2026-10-06")
    await directory.attest(ACTOR, "shop", size(monthly_active_users=99_000_000, as_of="2026-10-01"))
    clock.now = moment("2026-11-10T12:00")
    grown = size(
        monthly_active_users=100_000_001, monthly_revenue=5, currency="EUR", rate="1.08", rate_currency="USD",
        as_of="2026-11-09",
    )  # fmt: skip
    await directory.attest(ACTOR, "shop", grown)
    clock.now = moment("2026-11-17T12:00")
    await directory.show(ACTOR, "shop", proof())
    clock.now = moment("2026-11-20")
    await directory.change(ACTOR, "shop", patch(owner="Shop | people"))
    for day, state in ((2, State.NEAR), (3, State.NEAR), (12, State.ABOVE_NOT_DISPLAYED), (18, State.ABOVE_DISPLAYED)):
        await book.call(f"2026-11-{day:02}T09:00", emitted("shop", "kimi-k2", state, "warn"))
    later = {"checkpoint": "moonshotai/Kimi-K2.5", "revision": "abc", "estimated": True}
    await book.call("2026-11-30T23:59:59", emitted("shop", "kimi-k2.5", State.ABOVE_NOT_DISPLAYED, "warn"), **later)
    await book.call("2026-11-12T10:00", emitted("desk", "kimi-k2", State.NOT_APPLICABLE))
    await book.call("2026-11-12T11:00", emitted(None, "kimi-k2", State.UNKNOWN, "warn"))
    await book.call("2026-11-12T12:00", "", prompt_tokens=None, completion_tokens=None)
    # Of other months, and one that reached no weights.
    await book.call("2026-10-31T23:59:59", emitted("shop", "kimi-k2", State.NEAR))
    await book.call("2026-12-01", emitted("shop", "kimi-k2", State.ABOVE_DISPLAYED))
    await book.call("2026-11-12T12:00", emitted("shop", "kimi-k2", State.NEAR), checkpoint="", status=429)
    clock.now = moment("2026-12-02T08:00")
    return await report(desk, "2026-11")


@pytest.mark.parametrize("form", list(Format))
async def test_a_month_to_the_letter(desk: Desk, book: Book, clock: Clock, form: Format) -> None:
    """What a record's digest is, is not this test's matter."""
    written = write(await november(desk, book, clock), form).replace("\r\n", "\n")
    for name, each in RECORDS.items():
        written = written.replace(each.digest, f"<{name}>").replace(each.digest[:16], f"<{name} short>")
    assert written == (GOLDEN / f"november.{form.value}").read_text()


async def test_what_was_over_and_since_when(desk: Desk, book: Book, clock: Clock) -> None:
    found = await november(desk, book, clock)
    k2, k25 = (each for each in found.standings if each.product == "shop")
    crossed, shown, end = moment("2026-11-10T12:00"), moment("2026-11-17T12:00"), moment("2026-12-01")
    assert [(each.state, each.start, each.end, each.since) for each in k2.over] == [
        (State.ABOVE_NOT_DISPLAYED, crossed, shown, crossed),
        (State.ABOVE_DISPLAYED, shown, end, shown),
    ]
    assert [each.over_since for each in k2.over] == [crossed, crossed]
    # Showing "Kimi K2" is not showing "Kimi K2.5".
    assert [(each.state, each.start, each.end) for each in k25.over] == [(State.ABOVE_NOT_DISPLAYED, crossed, end)]
    assert k2.periods[0].state is State.NEAR
    assert k2.periods[0].since == moment("2026-10-06")


async def test_tokens_and_calls_add_up(desk: Desk, book: Book, clock: Clock) -> None:
    found = await november(desk, book, clock)
    assert sum(use.calls for use in found.uses) == 8
    assert sum(use.prompt_tokens for use in found.uses) == 700
    near = [use for use in found.uses if use.emitted is not None and use.emitted.state is State.NEAR]
    assert [(use.calls, use.completion_tokens) for use in near] == [(2, 20)]
    assert found.history.intact


async def test_an_attestation_that_ends_within_the_month_is_told(desk: Desk, book: Book, clock: Clock) -> None:
    clock.now = moment("2026-11-02")
    await desk.directory.add(ACTOR, new())
    ends = moment("2026-11-15T06:30")
    await desk.directory.attest(
        ACTOR, "shop", size(licence="kimi-k2", monthly_active_users=1, as_of="2026-11-01", valid_until=ends)
    )
    clock.now = moment("2026-11-20")
    standing = (await report(desk, "2026-11")).standings[0]
    assert [(each.state, each.start, each.end) for each in standing.periods] == [
        (State.BELOW, moment("2026-11-02"), ends),
        (State.EXPIRED, ends, moment("2026-11-20")),
    ]


async def test_without_a_ledger_it_says_so(desk: Desk, clock: Clock) -> None:
    found = await report(desk, "2026-11")
    assert found.uses == []
    assert found.notes == [
        "There are no calls to tell of: the ledger has never written to this database. Name `ledger` in `plugins`."
    ]
    assert "has never written" in write(found, Format.MD)


async def test_without_the_ledger_s_tables_it_says_so(sqlite_url: str) -> None:
    database = SqlDatabase(sqlite_url)
    await database.prepare([schema], upgrade=True)
    try:
        desk = build_desk(database.engine, records=RECORDS)
        desk.directory.clock = lambda: moment("2026-11-20")
        assert "has never written" in (await report(desk, "2026-11")).notes[0]
    finally:
        await database.aclose()


async def test_calls_that_are_no_longer_kept_are_counted(desk: Desk, book: Book, engine: AsyncEngine) -> None:
    day = {column.name: "" for column in ledger.days.columns} | dict.fromkeys(ledger.SUMS, 0)
    day |= {"id": b"1" * 16, "day": moment("2026-11-05") // 86_400, "status_class": 2, "checkpoint": "k2", "calls": 7}
    async with engine.begin() as connection:
        await connection.execute(insert(ledger.days).values(**day))
        lost = {"journal": "a", "segment": 1, "position": 1, "kind": "lost", "calls": 3, "bytes": 0}
        span = {"since": moment("2026-11-05") * 1_000, "until": moment("2026-11-05") * 1_000}
        await connection.execute(insert(ledger.losses).values(**lost, **span))
    await book.call("2026-11-05", emitted(None, "kimi-k2", State.UNKNOWN))
    notes = " ".join((await report(desk, "2026-11")).notes)
    assert "6 more calls" in notes
    assert "1 losses, 3 calls at least" in notes


async def test_a_call_without_an_answer_is_no_use(desk: Desk, book: Book) -> None:
    await book.call(
        "2026-11-05", emitted(None, "kimi-k2", State.UNKNOWN, "block", refused="attribution_required"), status=403
    )
    await book.call("2026-11-05", "", status=503)
    await book.call("2026-11-05", "", status=499)
    found = await report(desk, "2026-11")
    assert [(use.calls, use.emitted is None) for use in found.uses] == [(1, False)]
    assert "2 more calls reached an engine and got no answer" in " ".join(found.notes)


async def test_a_record_that_has_changed_since_is_told(desk: Desk, book: Book) -> None:
    await desk.directory.add(ACTOR, new())
    await book.call(
        "2026-11-05", emitted("shop", "kimi-k2", State.BELOW).replace(RECORDS["kimi-k2"].digest[:16], "f" * 16)
    )
    await book.call("2026-11-06", emitted("gone", "kimi-k2", State.BELOW))
    notes = " ".join((await report(desk, "2026-11")).notes)
    assert f"kimi-k2 is not the one ({'f' * 16}…) under which calls of shop ran" in notes
    assert "The product gone is not in the history" in notes


async def test_a_tampered_history_is_told(desk: Desk, book: Book, engine: AsyncEngine) -> None:
    await desk.directory.add(ACTOR, new())
    async with engine.begin() as connection:
        await connection.execute(text(f"UPDATE model_licence_head SET digest = '{DIGEST}'"))
    found = await report(desk, "2026-11")
    assert "tampered with" in found.notes[-1]
    assert "**tampered with**" in write(found, Format.MD)


async def test_what_people_wrote_is_harmless(desk: Desk, book: Book) -> None:
    await desk.directory.add(ACTOR, new(owner="<script>|`x`\n# [a](b)"))
    await desk.directory.attest(ACTOR, "shop", size(licence="kimi-k2", monthly_active_users=1))
    await book.call("2026-11-05", emitted("shop", "kimi-k2", State.BELOW), model="=1+1")
    found = await report(desk, "2026-11")
    assert "Owner: \\<script\\>\\|\\`x\\`\N{REPLACEMENT CHARACTER}# \\[a\\](b)" in write(found, Format.MD)
    assert ",'=1+1," in write(found, Format.CSV)


@pytest.mark.parametrize("wrong", ["2026-13", "2026", "2026-1", "november", "0000-01", "9999-12"])
async def test_a_month_that_is_none_is_refused(desk: Desk, wrong: str) -> None:
    with pytest.raises(InvalidRequest, match="no month"):
        await report(desk, wrong)


async def test_a_month_to_come_is_refused(desk: Desk) -> None:
    with pytest.raises(InvalidRequest, match="has not begun"):
        await report(desk, "2026-12")


def test_a_month_is_of_utc() -> None:
    assert month_bounds("2026-12") == (moment("2026-12-01"), moment("2027-01-01"))
    assert month_bounds("2028-02") == (moment("2028-02-01"), moment("2028-03-01"))
