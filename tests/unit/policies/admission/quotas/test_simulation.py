from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from typer.testing import CliRunner

from gateway import Dimension, Limit, Operation, Subject, Usage
from gateway.cli import build_cli
from gateway.cli.opening import Opener
from plugins.ledger.tables import calls
from policies.admission.quotas.rules import rules_of
from policies.admission.quotas.simulation import PastCall, Result, Simulation
from tests.unit.policies.admission.quotas.scene import day, limit

NOON = 1_795_348_800.0  # 2026-11-22, 12:00 UTC


def past(at: float, tokens: int = 10, **changes: Any) -> PastCall:
    """A call so many seconds after noon, with as many tokens of input as of output."""
    fields: dict[str, Any] = {
        "call_id": str(at),
        "received_at": NOON + at,
        "seconds": 2.0,
        "tenant": "demo",
        "team": "",
        "key_id": "k1",
        "user": "",
        "operation": Operation.CHAT,
        "model": "kimi-k2",
        "streamed": False,
        "max_tokens": None,
        "usage": Usage(prompt_tokens=tokens, completion_tokens=tokens),
        "cost_nanos": None,
    }
    return PastCall(**{**fields, **changes})


async def simulated(limits: list[Limit], *calls_: PastCall) -> Result:
    async def in_order() -> AsyncIterator[PastCall]:
        for each in sorted(calls_, key=lambda call: call.received_at):
            yield each

    rules, problems = rules_of(limits)
    assert problems == []
    return await Simulation(rules, {}).run(in_order())


async def test_calls_within_the_limits_pass() -> None:
    result = await simulated([limit(amount=1, burst=1)], *(past(61.0 * number) for number in range(100)))
    assert (result.calls, result.refused, result.findings) == (100, 0, {})


async def test_who_would_have_been_refused_when_and_how_often() -> None:
    busy = [past(number * 10.0, key_id="busy", tenant="big") for number in range(720)]
    calm = [past(number * 1_000.0, key_id="calm") for number in range(7)]
    result = await simulated([limit(amount=3)], *busy, *calm)
    (found,) = result.findings.values()
    assert (found.limit, found.tenant, found.key_id) == ("few", "big", "busy")
    # Three at once and three a minute, of six a minute.
    assert found.refused == result.refused == pytest.approx(360, abs=5)
    assert found.first_at == NOON + 50
    assert [hour - int(NOON) // 3_600 for hour in found.by_hour] == [0, 1]


async def test_tokens_count_as_they_were_used() -> None:
    result = await simulated([day(Dimension.TOTAL_TOKENS, 20_000)], *(past(number * 10.0, 500) for number in range(30)))
    assert result.calls - result.refused == 20


async def test_a_call_reserves_what_it_asked_for_and_only_what_it_used_is_gone() -> None:
    """As it would have: two at once do not fit, one after the other do."""
    budget = day(Dimension.OUTPUT_TOKENS, 1_000)
    at_once = [past(number * 1.0, 10, max_tokens=600) for number in range(2)]
    assert (await simulated([budget], *at_once)).refused == 1
    in_turn = [past(number * 10.0, 10, max_tokens=600) for number in range(40)]
    assert (await simulated([budget], *in_turn)).refused == 0
    assert (await simulated([budget], past(0.0, 10, max_tokens=1_001))).refused == 1
    assert (await simulated([budget], past(0.0, 10, max_tokens=None))).refused == 0


async def test_calls_at_once_are_as_long_as_they_were() -> None:
    at_once = limit(Dimension.CONCURRENT_CALLS, 2, every=None)
    result = await simulated([at_once], *(past(number * 1.0, seconds=3.5) for number in range(8)))
    assert result.refused == 4


async def test_a_shadow_is_shown_and_refuses_nothing() -> None:
    shadow = limit(amount=2, mode="shadow", per=(Subject.USER,))
    result = await simulated([shadow], *(past(number * 1.0, user="ann") for number in range(6)))
    (found,) = result.findings.values()
    assert (found.mode, found.user, found.refused, result.refused) == ("shadow", "ann", 4, 0)


CONFIG = """
database: sqlite:///{folder}/calls.db
server: {{anonymous: true}}
models:
  - name: kimi-k2
    checkpoint: {{id: k2, context_length: 1024}}
    replicas: [{{name: a, backend: openai_compatible, url: "http://127.0.0.1:9"}}]
policies:
  admission:
    - use: quotas
      limits: [{{name: few, dimension: requests, amount: 2, every: hour}}]
plugins: [{{use: ledger, path: "{folder}/journal"}}]
"""


def row(number: int, **changes: Any) -> dict[str, Any]:
    texts = ("tenant", "team", "key_id", "user_id", "model", "checkpoint", "revision", "backend", "replica", "currency")
    more = ("ending", "error_code", "finish_reason", "arm", "attribution")
    fields: dict[str, Any] = {
        **dict.fromkeys((*texts, *more), ""),
        "call_id": f"c{number}",
        "received_at": int(NOON * 1_000) + number,
        "operation": "chat",
        "key_id": "k1",
        "model": "kimi-k2",
        "attempts": 1,
        "prompt_tokens": 5,
        "completion_tokens": 5,
        "estimated": False,
        "total_us": 1_000,
        "status": 200,
        "streamed": False,
        "max_tokens": 9,
    }
    return {**fields, **changes}


async def fill(config: Path) -> None:
    async with Opener().open(config) as opened:
        engine: AsyncEngine = (await opened.database()).engine
        rows = [row(number) for number in range(5)]
        rows += [row(8, attempts=0), row(9, operation="tokenize", prompt_tokens=None, completion_tokens=None)]
        rows += [row(10, received_at=int(NOON * 1_000) + 86_400_000)]
        async with engine.begin() as connection:
            await connection.execute(calls.insert(), rows)


def test_the_command_reads_the_ledger(tmp_path: Path) -> None:
    config = tmp_path / "moegate.yaml"
    config.write_text(CONFIG.format(folder=tmp_path))
    asyncio.run(fill(config))
    arguments = ["quota", "simulate", "-c", str(config), "--from", "2026-11-22", "--to", "2026-11-23"]
    shown = CliRunner().invoke(build_cli(), arguments, catch_exceptions=False)
    assert shown.exit_code == 0
    first, _, line = shown.stdout.splitlines()
    assert first == "6 calls; 4 (66.67 %) would have been refused."
    assert line.split() == [
        "few", "enforce", "-", "k1", "-", "kimi-k2", "4", "2026-11-22T12:00:00Z", "2026-11-22T12:00:00Z", "4", "from",
        "2026-11-22T12:00:00Z",
    ]  # fmt: skip
    as_json = CliRunner().invoke(build_cli(), [*arguments, "--json"], catch_exceptions=False)
    assert json.loads(as_json.stdout)["findings"][0]["refused"] == 4
