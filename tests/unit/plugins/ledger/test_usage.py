from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import delete
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.database import SqlDatabase
from gateway.errors import InvalidRequest
from plugins.ledger import tables
from plugins.ledger.asked import MOST_DAYS, read_month, read_query
from plugins.ledger.dimensions import DIMENSIONS, Period
from plugins.ledger.folders import Position
from plugins.ledger.reading import Batch, Loss
from plugins.ledger.retention import retain
from plugins.ledger.row import CallRow
from plugins.ledger.store import CallStore
from plugins.ledger.usage import LedgerUnavailable, Report, statement, usage
from tests.unit.plugins.ledger.rows import DAY, NOON, make_row, make_settings

NOW = NOON / 1_000


def some_rows(count: int) -> list[CallRow]:
    """Calls of three months, alike in nothing."""
    choice = random.Random(7)
    return [
        make_row(
            str(number),
            received_at=NOON - choice.randrange(80 * DAY),
            tenant=choice.choice(["acme", "beta"]),
            team=choice.choice(["", "search"]),
            user=choice.choice(["", "u1", "u2"]),
            replica=choice.choice(["a", "b", ""]),
            status=choice.choice([200, 429, 503]),
            estimated=choice.choice([True, False]),
            prompt_tokens=choice.choice([None, 10, 1_000]),
            cost_nanos=choice.choice([None, 7, 10**12]),
            currency=choice.choice(["USD", "EUR"]),
            streamed=choice.choice([True, False]),
            finish_reason=choice.choice(["stop", "length"]),
        )
        for number in range(count)
    ]


async def take(engine: AsyncEngine, rows: list[CallRow], losses: tuple[Loss, ...] = ()) -> None:
    await CallStore(engine).take("j", Batch(rows, list(losses), Position(1, 1), complete=True), NOON)


async def ask(
    engine: AsyncEngine, by: str = "", since: str | None = None, until: str | None = None, **only: str
) -> Report:
    values = {name: [value] for name, value in only.items()}
    return await usage(engine, read_query(since, until, by, values, 10_000, now=NOW))


def value_of(row: CallRow, name: str) -> str:
    moment = datetime.fromtimestamp(row.received_at / 1_000, UTC)
    special: dict[str, Any] = {
        "day": moment.strftime("%Y-%m-%d"),
        "month": moment.strftime("%Y-%m"),
        "hour": moment.strftime("%Y-%m-%dT%H:00Z"),
        "key": row.key_id,
        "error": row.error_code,
        "status": f"{row.status // 100}xx",
        "status_code": str(row.status),
        "streamed": str(row.streamed).lower(),
        "estimated": str(row.estimated).lower(),
    }
    return str(special[name]) if name in special else str(getattr(row, name))


@pytest.fixture
async def filled(engine: AsyncEngine) -> tuple[AsyncEngine, list[CallRow]]:
    rows = some_rows(600)
    await take(engine, rows)
    return engine, rows


@pytest.mark.parametrize(
    ("by", "source"),
    [
        ("tenant,day", "ledger_days"),
        ("month", "ledger_days"),
        ("tenant,user,month", "ledger_user_days"),
        ("replica,status,currency", "ledger_days"),
        ("finish_reason,status_code", "ledger_calls"),
        ("hour", "ledger_calls"),
        ("month,streamed", "ledger_calls"),
        ("user,status", "ledger_calls"),
        (",".join(DIMENSIONS), "ledger_calls"),
    ],
)
async def test_sums_are_those_of_the_calls(filled: tuple[AsyncEngine, list[CallRow]], by: str, source: str) -> None:
    """Whichever table answers, as if each call were looked at."""
    engine, rows = filled
    report = await ask(engine, by, "2026-09-20", "2026-12-01")
    names = [*(name for name in by.split(",") if name != "currency"), "currency"]
    within = [row for row in rows if "2026-09-20" <= value_of(row, "day") < "2026-12-01"]
    calls, tokens, cost = Counter[Any](), Counter[Any](), Counter[Any]()
    for row in within:
        group = tuple(value_of(row, name) for name in names)
        calls[group] += 1
        tokens[group] += (row.prompt_tokens or 0) + (row.completion_tokens or 0)
        cost[group] += row.cost_nanos or 0
    assert report.source == source
    found = {tuple(line[name] for name in names): line for line in report.lines}
    assert {group: line["calls"] for group, line in found.items()} == calls
    assert {group: line["total_tokens"] for group, line in found.items()} == tokens
    assert {group: line["cost"] for group, line in found.items()} == {
        group: f"{nanos // 10**9}.{nanos % 10**9:09}" for group, nanos in cost.items()
    }
    assert sum(int(line["calls"] or 0) for line in report.totals) == len(within)
    assert [line["currency"] for line in report.totals] == ["EUR", "USD"]


async def test_every_source_says_the_same(filled: tuple[AsyncEngine, list[CallRow]]) -> None:
    engine, _ = filled
    period = Period(NOON - NOON % DAY - 60 * DAY, NOON - NOON % DAY)
    since, until = (datetime.fromtimestamp(ms / 1_000, UTC).isoformat() for ms in (period.since, period.until))
    answers = [
        await ask(engine, "", since, until, **only) for only in ({"tenant": "acme"}, {"tenant": "acme", "user": "u1"})
    ]
    sources = [report.source for report in answers]
    by_calls = [
        await ask(engine, "status_code", since, until, tenant="acme"),
        await ask(engine, "status_code", since, until, tenant="acme", user="u1"),
    ]
    assert sources == ["ledger_days", "ledger_user_days"]
    assert [report.totals for report in by_calls] == [report.totals for report in answers]


async def test_part_of_a_day_is_summed_from_the_calls(engine: AsyncEngine) -> None:
    await take(engine, [make_row(str(hour), received_at=NOON + hour * 3_600_000) for hour in range(6)])
    report = await ask(engine, "tenant", "2026-12-01T13:00:00Z", "2026-12-01T17:00+01:00")
    assert report.source == "ledger_calls"
    assert [line["calls"] for line in report.lines] == [3]
    assert (report.since, report.until) == ("2026-12-01T13:00:00.000Z", "2026-12-01T16:00:00.000Z")


async def test_lines_are_bounded_and_the_report_says_so(filled: tuple[AsyncEngine, list[CallRow]]) -> None:
    engine, rows = filled
    query = read_query("2026-01-01", "2027-01-01", "day", {}, 5, now=NOW)
    report = await usage(engine, query)
    assert (len(report.lines), report.truncated) == (5, True)
    assert sum(int(line["calls"] or 0) for line in report.totals) == len(rows)
    assert any("more than 5 lines" in note for note in report.notes)


async def test_restrictions_of_each_kind(filled: tuple[AsyncEngine, list[CallRow]]) -> None:
    engine, rows = filled
    for name, value in [
        ("status", "4xx"),
        ("status_code", "503"),
        ("streamed", "true"),
        ("estimated", "false"),
        ("team", ""),
    ]:
        report = await ask(engine, "", "2026-01-01", "2027-01-01", **{name: value})
        wanted = sum(value_of(row, name) == value for row in rows)
        assert sum(int(line["calls"] or 0) for line in report.lines) == wanted, name


async def test_what_is_missing_is_said(engine: AsyncEngine) -> None:
    losses = (
        Loss(1, 1, "damaged", None, 50, NOON, NOON),
        Loss(1, 2, "lost", 12, 0, NOON, NOON + 1),
        Loss(1, 3, "torn", None, 5, NOON, NOON),
        Loss(1, 4, "lost", 99, 0, NOON - 40 * DAY, NOON - 40 * DAY),
    )
    await take(engine, [make_row()], losses)
    notes = (await ask(engine)).notes
    assert len(notes) == 3
    assert "12 calls are missing, because the journal was full." in notes


async def test_old_calls_go_and_their_sums_stay(engine: AsyncEngine, tmp_path: Any) -> None:
    rows = [make_row(str(age), received_at=NOON - age * DAY, user="u") for age in (0, 9, 10, 11, 500)]
    await take(engine, rows)
    settings = make_settings(tmp_path, retention_days=10)
    assert await retain(engine, settings, NOON) == 3  # two calls, and one user's day that is past 400 days
    assert await retain(engine, settings, NOON) == 0
    whole = await ask(engine, "", "2025-01-01", "2027-01-01")
    assert [line["calls"] for line in whole.lines] == [5]
    assert whole.notes == []
    by_calls = await ask(engine, "finish_reason", "2025-01-01", "2027-01-01")
    assert [line["calls"] for line in by_calls.lines] == [3]
    assert "Not all calls of this period are kept one by one" in by_calls.notes[0]
    async with engine.begin() as connection:
        await connection.execute(delete(tables.calls))
    none = await ask(engine, "finish_reason", "2026-11-01", "2027-01-01")
    assert "(none)" in none.notes[0]


async def test_a_statement_sums_a_month_by_model(engine: AsyncEngine) -> None:
    november = NOON - 5 * DAY
    tokens = {"prompt_tokens": 1_000, "cached_tokens": 400, "completion_tokens": 200, "reasoning_tokens": 50}
    await take(
        engine,
        [
            make_row("1", received_at=november, cost_nanos=3_000_000_000, **tokens),
            make_row("2", received_at=november, cost_nanos=1_000_000_000, estimated=True, **tokens),
            make_row("3", received_at=november, model="other", cost_nanos=None, currency=""),
            make_row("4", received_at=NOON),
            make_row("5", received_at=november, tenant="beta"),
        ],
    )
    report = await statement(engine, "acme", "2026-11", now=NOW)
    assert [(line["model"], line["currency"]) for line in report.lines] == [("kimi-k2", "USD"), ("other", "")]
    first, other = report.lines
    assert first | {"model": "kimi-k2"} == {
        "model": "kimi-k2",
        "currency": "USD",
        "calls": 2,
        "input_tokens": 1_200,
        "cached_input_tokens": 800,
        "output_tokens": 400,
        "reasoning_tokens_of_output": 100,
        "cost": "4.000000000",
        "unpriced_calls": 0,
        "estimated_share_of_tokens": 0.5,
        "estimated_share_of_cost": 0.25,
    }
    assert (other["cost"], other["unpriced_calls"]) == ("0.000000000", 1)
    assert (report.since, report.until, report.notes) == ("2026-11-01", "2026-12-01", [])
    assert (await statement(engine, "acme", "2026-12", now=NOW)).notes == ["The month is not over."]


async def test_a_database_that_is_away_is_an_error_of_ours(sqlite_url: str) -> None:
    database = SqlDatabase(sqlite_url)  # without any tables
    try:
        with pytest.raises(LedgerUnavailable) as caught:
            await ask(database.engine)
    finally:
        await database.aclose()
    assert caught.value.status == 503


@pytest.mark.parametrize(
    ("changes", "param", "said"),
    [
        ({"since": "yesterday"}, "from", "2026-11-30"),
        ({"until": "2026-13-01"}, "to", "2026-11-30"),
        ({"since": "2026-11-02", "until": "2026-11-02"}, "from", "before"),
        ({"since": "2006-01-01", "until": "2026-01-01"}, "from", str(MOST_DAYS)),
        ({"by": "tenant,tennant"}, "by", "tenant"),
        ({"by": "day,day"}, "by", "twice"),
        ({"only": {"day": ["2026-11-02"]}}, "day", "no dimension"),
        ({"only": {"tenant": ["x"] * 51}}, "tenant", "50 values"),
        ({"limit": 0}, "limit", "between"),
    ],
)
def test_wrong_questions_are_told_what_is_wrong(changes: dict[str, Any], param: str, said: str) -> None:
    arguments = {"since": None, "until": None, "by": "", "only": {}, "limit": 10, **changes}
    with pytest.raises(InvalidRequest, match=said) as caught:
        read_query(**arguments, now=NOW)
    assert caught.value.param == param


def test_a_question_without_a_period_is_about_this_month() -> None:
    query = read_query(None, None, "", {}, 10, now=NOW)
    assert (query.period.since, query.period.until) == (NOON - NOON % DAY, NOON - NOON % DAY + DAY)


@pytest.mark.parametrize("month", ["2026-1", "2026-13", "26-01", "2026-11-01", "0000-01", "9999-12", "२०२६-११"])
def test_a_month_that_is_none(month: str) -> None:
    with pytest.raises(InvalidRequest, match="2026-11"):
        read_month(month)


@pytest.mark.parametrize(("name", "value"), [("status", "200"), ("status_code", "2xx"), ("estimated", "1")])
async def test_values_that_do_not_fit_their_dimension(engine: AsyncEngine, name: str, value: str) -> None:
    with pytest.raises(InvalidRequest, match=name):
        await ask(engine, **{name: value})
