"""The policy in a whole gateway: headers, refusals, `GET /v1/quota`, a reload, and what a configuration must not say."""

from __future__ import annotations

import json
from typing import Any

import pytest

import plugins.memory_store
import policies.admission.quotas
from gateway.errors import ConfigError
from gateway.http.edge import Edge
from tests.unit.fakes import FakeResponse
from tests.unit.gateway.in_process import config, running

OURS = (plugins.memory_store, policies.admission.quotas)
PER_MINUTE = {"name": "few", "dimension": "requests", "amount": 2, "every": "minute"}
PER_DAY = {"name": "tokens", "dimension": "total_tokens", "amount": 5_000, "every": "day", "window": "calendar"}
BODY = b'{"model":"kimi-k2","messages":[{"role":"user","content":"hi"}],"max_tokens":100}'


def with_limits(*limits: dict[str, Any]) -> dict[str, Any]:
    return config(policies={"admission": [{"use": "quotas", "limits": list(limits)}]})


def answers(count: int) -> tuple[FakeResponse, ...]:
    return tuple(FakeResponse(pieces=[b'{"choices":[]}']) for _ in range(count))


async def test_every_answer_says_what_is_left_and_one_too_many_is_refused() -> None:
    async with running(*OURS, settings=with_limits(PER_MINUTE, PER_DAY), replies=answers(2)) as gateway:
        first, second, third = [await gateway.ask(body=BODY) for _ in range(3)]
    assert (first.status, second.status, third.status) == (200, 200, 429)
    assert first.headers["x-ratelimit-remaining-requests"] == "1"
    assert int(first.headers["x-ratelimit-remaining-tokens"]) < 4_900
    assert third.headers["x-ratelimit-remaining-requests"] == "0"
    assert third.headers["retry-after"] == "30"
    assert third.headers["x-moegate-error"] == "quota_exceeded"
    assert third.error["message"].startswith("Limit few (2 requests per key a minute)")
    assert gateway.asked == ["a", "a"]


async def test_a_failed_engine_costs_nothing() -> None:
    replies = (FakeResponse(status=503), *answers(2))
    async with running(*OURS, settings=with_limits(PER_MINUTE), replies=replies) as gateway:
        assert [(await gateway.ask(body=BODY)).status for _ in range(4)] == [503, 200, 200, 429]


async def test_a_caller_can_see_its_limits() -> None:
    async with running(*OURS, settings=with_limits(PER_DAY), replies=answers(1)) as gateway:
        await gateway.ask(body=BODY)
        shown = await gateway.ask("/v1/quota", b"", method="GET")
    (limit,) = json.loads(shown.body)["limits"]
    used = 1 + len(b'{"choices":[]}')  # as the fake engine counts
    assert (limit["name"], limit["used"], limit["remaining"]) == ("tokens", used, 5_000 - used)


async def test_without_the_policy_there_are_no_limits_to_see() -> None:
    async with running(*OURS) as gateway:
        shown = await gateway.ask("/v1/quota", b"", method="GET")
    assert json.loads(shown.body) == {"object": "quota", "limits": []}


async def test_a_reload_goes_on_with_what_was_spent() -> None:
    async with running(*OURS, settings=with_limits(PER_MINUTE), replies=answers(4)) as gateway:
        await gateway.ask(body=BODY)
        old, gateway.runtime = gateway.runtime, await gateway.build(with_limits({**PER_MINUTE, "amount": 3}))
        gateway.runtime.start()
        gateway.edge = Edge(gateway.runtime)
        while gateway.runtime.fleet.not_ready():
            await gateway.runtime.fleet.wait_for_change()
        await old.retire()
        assert [(await gateway.ask(body=BODY)).status for _ in range(3)] == [200, 200, 429]


@pytest.mark.parametrize(
    ("policies_", "says"),
    [
        ([{"use": "quotas", "limits": [{**PER_DAY, "window": "calender"}]}], "window"),
        ([{"use": "quotas", "limits": [{"name": "x", "dimension": "requests", "amount": 1}]}], "every: missing"),
        ([{"use": "quotas", "limits": [PER_DAY, PER_DAY]}], "two limits are named 'tokens'"),
        ([{"use": "quotas", "limits": [{**PER_DAY, "dimension": "cost"}]}], "has no `prices`"),
        ([{"use": "quotas"}, {"use": "quotas"}], "it stands twice"),
    ],
)
async def test_a_fault_in_a_limit_stops_the_start(policies_: list[dict[str, Any]], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        async with running(*OURS, settings=config(policies={"admission": policies_})):
            raise AssertionError("it has started")
