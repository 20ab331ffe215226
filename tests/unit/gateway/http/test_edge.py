from __future__ import annotations

import asyncio
import re

import pytest

from gateway.http.edge import new_call_id
from tests.unit.builders import until
from tests.unit.fakes import FakeResponse
from tests.unit.gateway.in_process import CHAT, config, running


def test_a_call_id_is_unique_and_sorts_by_time() -> None:
    made = [new_call_id() for _ in range(200)]
    assert len(set(made)) == 200
    assert all(re.fullmatch(r"[0-9a-f]{32}", call_id) for call_id in made)
    stamps = [call_id[:12] for call_id in made]
    assert stamps == sorted(stamps)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", CHAT, 200),
        ("POST", CHAT + "/", 200),
        ("GET", CHAT, 405),
        ("GET", "/v1/models", 200),
        ("GET", "/v1/models/kimi-latest", 200),
        ("GET", "/v1/models/other", 404),
        ("GET", "/healthz", 200),
        ("GET", "/readyz", 200),
        ("POST", "/healthz", 405),
        ("GET", "/absent", 404),
    ],
)
async def test_every_answer_carries_its_id_once(method: str, path: str, status: int) -> None:
    async with running(replies=(FakeResponse(pieces=[b"{}"]),)) as gateway:
        answer = await gateway.ask(path, method=method)
    assert answer.status == status
    names = [name for name, _ in answer.header_list]
    assert names.count("x-moegate-call-id") == 1
    assert (names.count("x-moegate-error") == 1) == (status >= 400)


async def test_a_request_counts_while_it_is_inside() -> None:
    gate = asyncio.Event()
    async with running(replies=(FakeResponse(pieces=[gate, b"{}"]),)) as gateway:
        asking = asyncio.create_task(gateway.ask())
        await until(lambda: gateway.runtime.in_flight == 1)
        gate.set()
        await asking
        assert gateway.runtime.in_flight == 0


async def test_a_model_is_asked_for_by_name_or_alias_and_else_told_of_near_ones() -> None:
    async with running(replies=(FakeResponse(pieces=[b"{}"]),)) as gateway:
        known = await gateway.ask(body=b'{"model": "kimi-latest", "messages": [1]}')
        unknown = await gateway.ask(body=b'{"model": "kimi-k3", "messages": [1]}')
    assert known.status == 200
    assert (unknown.status, unknown.error["code"], unknown.error["param"]) == (404, "model_not_found", "model")
    assert "did you mean 'kimi-k2'" in unknown.error["message"]


async def test_a_body_over_the_limit_is_refused_without_an_engine() -> None:
    settings = config(server={"anonymous": True, "max_body_bytes": 1_024})
    async with running(settings=settings) as gateway:
        answer = await gateway.ask(body=b"x" * 1_025)
        declared = await gateway.ask(body=b"{}", content_length="999999")
    assert (answer.status, answer.error["code"]) == (413, "body_too_large")
    assert declared.status == 413
    assert gateway.asked == []
