"""The routes and the commands: the same questions, the same answers, and nothing for those who may not ask."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from litestar import Litestar
from litestar.testing import AsyncTestClient
from sqlalchemy.ext.asyncio import AsyncEngine
from typer.testing import CliRunner

from gateway.database import SqlDatabase
from gateway.errors import GatewayError
from gateway.http.errors import handle_gateway_error
from plugins.ledger.commands import commands
from plugins.ledger.folders import Position
from plugins.ledger.ledger import Ledger, SharedJournal
from plugins.ledger.reading import Batch
from plugins.ledger.store import CallStore
from plugins.ledger.tables import schema
from plugins.ledger.usage import Report
from tests.unit.plugins.ledger.rows import DAY, NOON, Clock, make_row, make_settings

ROWS = [make_row(str(number), tenant="acme" if number % 3 else "=beta", received_at=NOON - DAY) for number in range(9)]
PERIOD = {"from": "2026-11-01", "to": "2026-12-01"}

Client = AsyncTestClient[Litestar]


async def fill(engine: AsyncEngine) -> None:
    await CallStore(engine).take("j", Batch(ROWS, [], Position(1, 1), complete=True), NOON)


@pytest.fixture
async def client(tmp_path: Path, sqlite_url: str) -> AsyncIterator[Client]:
    database = SqlDatabase(sqlite_url)
    await database.prepare([schema], upgrade=True)
    await fill(database.engine)
    settings = make_settings(tmp_path)
    ledger = Ledger(settings, SharedJournal(settings, Clock()), database.engine, clock=Clock())

    app = Litestar(ledger.handlers, exception_handlers={GatewayError: handle_gateway_error}, openapi_config=None)
    async with AsyncTestClient(app) as client:
        yield client
    await database.aclose()


async def test_usage_over_http(client: Client) -> None:
    answer = await client.get("/admin/v1/usage", params={**PERIOD, "by": "tenant"})
    report = msgspec.json.decode(answer.content, type=Report)
    assert [(line["tenant"], line["calls"]) for line in report.lines] == [("=beta", 3), ("acme", 6)]
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.headers["cache-control"] == "no-store"
    only = await client.get("/admin/v1/usage", params={**PERIOD, "tenant": "acme", "format": "csv"})
    assert only.headers["content-type"].startswith("text/csv")
    assert only.text.splitlines()[1].startswith("USD,6,600,240,120,0,720,")
    both = await client.get("/admin/v1/usage", params={**PERIOD, "tenant": ["acme", "=beta"]})
    assert both.json()["totals"][0]["calls"] == 9
    dangerous = await client.get("/admin/v1/usage", params={**PERIOD, "by": "tenant", "format": "csv"})
    assert "'=beta" in dangerous.text


async def test_a_statement_over_http(client: Client) -> None:
    answer = await client.get("/admin/v1/usage/statement", params={"tenant": "acme", "month": "2026-11"})
    (line,) = answer.json()["lines"]
    assert (line["model"], line["calls"], line["input_tokens"], line["cached_input_tokens"]) == ("kimi-k2", 6, 360, 240)


async def test_the_ledgers_own_state_over_http(client: Client) -> None:
    answer = await client.get("/admin/v1/ledger")
    assert (answer.json()["trouble"], answer.json()["refusing"], answer.json()["lost"]) == (None, False, 0)


@pytest.mark.parametrize(
    ("path", "params", "param"),
    [
        ("usage", {"by": "tennant"}, "by"),
        ("usage", {"tennant": "acme"}, "tennant"),  # taken for nothing, it would show every tenant's
        ("usage", {"from": "x"}, "from"),
        ("usage", {"to": "x"}, "to"),
        ("usage", {"limit": "many"}, "limit"),
        ("usage", {"limit": "100001"}, "limit"),
        ("usage", {"format": "xml"}, "format"),
        ("usage", {"status": "fine"}, "status"),
        ("usage", {"month": "2026-11"}, "month"),
        ("usage/statement", {"tenant": "acme"}, "tenant"),
        ("usage/statement", {"tenant": "acme", "month": "11"}, "month"),
        ("usage/statement", {"tenant": "acme", "month": "2026-11", "by": "day"}, "by"),
    ],
)
async def test_wrong_parameters_are_told(client: Client, path: str, params: dict[str, str], param: str) -> None:
    answer = await client.get(f"/admin/v1/{path}", params=params)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == param


def test_every_route_wants_a_scope(tmp_path: Path, sqlite_url: str) -> None:
    settings = make_settings(tmp_path)
    ledger = Ledger(settings, SharedJournal(settings), SqlDatabase(sqlite_url).engine)
    app = Litestar(ledger.handlers, openapi_config=None)
    scopes = {
        route.path: handler.opt.get("scope")
        for route in app.routes
        for handler in getattr(route, "route_handlers", [])
        if "GET" in handler.http_methods
    }
    assert scopes == dict.fromkeys(("/admin/v1/usage", "/admin/v1/usage/statement", "/admin/v1/ledger"), "admin:read")


class Opened:
    """A configuration whose database is at that URL, filled."""

    def __init__(self, url: str) -> None:
        self._url = url

    @asynccontextmanager
    async def open(self, config: Path) -> AsyncIterator[Opened]:
        self._database = SqlDatabase(self._url)
        await self._database.prepare([schema], upgrade=True)
        try:
            await fill(self._database.engine)
            yield self
        finally:
            await self._database.aclose()

    async def database(self) -> SqlDatabase:
        return self._database


def run(url: str, *arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(commands, arguments, obj=Opened(url))
    return done.exit_code, done.output


def test_usage_on_the_command_line(sqlite_url: str) -> None:
    code, output = run(sqlite_url, "--from", "2026-11-01", "--to", "2026-12-01", "--by", "tenant,day")
    assert code == 0, output
    lines = [line.split() for line in output.splitlines()]
    assert ["=beta", "2026-11-30", "USD", "3"] in [line[:4] for line in lines]
    assert ["total", "USD", "9"] in [line[:3] for line in lines]
    period = ("--from", "2026-11-01", "--to", "2026-12-01")
    code, output = run(sqlite_url, *period, "--tenant", "acme", "--only", "status=2xx", "--format", "json")
    assert msgspec.json.decode(output, type=Report).totals[0]["calls"] == 6
    code, output = run(sqlite_url, *period, "--by", "tenant", "--format", "csv")
    assert output.splitlines()[1].startswith("'=beta,USD,3,")


def test_a_statement_on_the_command_line(sqlite_url: str) -> None:
    code, output = run(sqlite_url, "statement", "--tenant", "acme", "--month", "2026-11")
    assert code == 0
    assert "kimi-k2" in output
    assert "cached_input_tokens" in output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--by", "tennant"), "there is tenant"),
        (("--only", "status"), "DIMENSION=VALUE"),
        (("--only", "hour=1"), "no dimension 'hour'"),
        (("--from", "x"), "2026-11-30"),
        (("statement", "--tenant", "a", "--month", "x"), "2026-11"),
    ],
)
def test_wrong_options_are_told(sqlite_url: str, arguments: tuple[str, ...], said: str) -> None:
    code, output = run(sqlite_url, *arguments)
    assert code == 2
    assert said in output
