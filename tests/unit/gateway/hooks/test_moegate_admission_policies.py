from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

from gateway import Call, Ending, Outcome
from gateway.errors import QuotaExceeded, UpstreamUnreachable
from tests.unit.builders import until
from tests.unit.fakes import EVENT_STREAM, FakeResponse
from tests.unit.gateway.in_process import STREAMED, Gateway, config, running
from tests.unit.gateway.plugin_modules import extension, plugin

DONE = b"data: [DONE]\n\n"


class Policy:
    """Grants a lease, and notes in the common log what becomes of it; `last` settles with an await."""

    def __init__(self, name: str, log: list[tuple[str, Ending]], error: Exception | None = None) -> None:
        self.name, self.log, self.error = name, log, error

    async def admit(self, call: Call) -> Policy:
        if self.error is not None:
            raise self.error
        return self

    def settle(self, outcome: Outcome) -> Awaitable[None] | None:
        self.log.append((self.name, outcome.ending))
        return asyncio.sleep(1) if self.name == "last" else None


Scene = Callable[..., AbstractAsyncContextManager[Gateway]]


@pytest.fixture
def log() -> list[tuple[str, Ending]]:
    return []


@pytest.fixture
def scene(log: list[tuple[str, Ending]]) -> Scene:
    """A gateway with the admission policies first, middle and last; `third` is the error of the last one."""

    @asynccontextmanager
    async def start(*replies: Any, third: Exception | None = None) -> AsyncIterator[Gateway]:
        policies = [Policy("first", log), Policy("middle", log), Policy("last", log, third)]
        brings = plugin(moegate_admission_policies=lambda: [extension(policy.name, policy) for policy in policies])
        settings = config(policies={"admission": [{"use": policy.name} for policy in policies]})
        async with running(brings, settings=settings, replies=replies) as gateway:
            yield gateway

    return start


def settled(ending: Ending, *names: str) -> list[tuple[str, Ending]]:
    return [(name, ending) for name in names]


async def test_every_lease_is_settled_once_in_reverse_order_after_a_success(scene: Scene, log: Any) -> None:
    async with scene(FakeResponse(pieces=[b"{}"])) as gateway:
        answer = await gateway.ask()
    assert answer.status == 200
    assert log == settled(Ending.COMPLETED, "last", "middle", "first")


async def test_and_after_a_failure(scene: Scene, log: Any) -> None:
    async with scene(UpstreamUnreachable("dead")) as gateway:
        answer = await gateway.ask()
    assert answer.status == 502
    assert log == settled(Ending.FAILED, "last", "middle", "first")


async def test_and_after_a_failure_in_the_middle_of_a_stream(scene: Scene, log: Any) -> None:
    response = FakeResponse(headers=EVENT_STREAM, pieces=[b"data: a\n\n"])
    async with scene(response) as gateway:
        answer = await gateway.ask(body=STREAMED)
    assert answer.status == 200
    assert log == settled(Ending.FAILED, "last", "middle", "first")


@pytest.mark.parametrize("pieces", [[], [b"data: a\n\n"]])
async def test_and_when_the_client_leaves(scene: Scene, log: Any, pieces: list[Any]) -> None:
    response = FakeResponse(headers=EVENT_STREAM, pieces=[*pieces, asyncio.Event()])
    leaves = asyncio.Event()
    async with scene(response) as gateway:
        asking = asyncio.create_task(gateway.ask(body=STREAMED, leaves=leaves))
        await until(lambda: len(response.waits) == len(pieces) + 1)
        leaves.set()
        answer = await asking
        assert gateway.in_flight == 0
    assert answer.started is bool(pieces)
    assert response.closed == 1
    assert log == settled(Ending.DISCONNECTED, "last", "middle", "first")


async def test_a_refusal_gives_back_what_was_granted_before_it(scene: Scene, log: Any) -> None:
    async with scene(third=QuotaExceeded("No more today.", retry_after_seconds=7)) as gateway:
        answer = await gateway.ask()
    assert (answer.status, answer.error["message"], answer.headers["retry-after"]) == (429, "No more today.", "7")
    assert log == settled(Ending.FAILED, "middle", "first")
    assert gateway.asked == []


async def test_so_does_a_crash(scene: Scene, log: Any) -> None:
    async with scene(third=KeyError("inside")) as gateway:
        answer = await gateway.ask()
    assert (answer.status, answer.error["code"]) == (500, "policy_failed")
    assert "inside" not in answer.body.decode()
    assert log == settled(Ending.FAILED, "middle", "first")


async def test_and_when_the_server_cancels_the_request(scene: Scene, log: Any) -> None:
    response = FakeResponse(headers=EVENT_STREAM, pieces=[b"data: a\n\n", asyncio.Event()])
    async with scene(response) as gateway:
        asking = asyncio.create_task(gateway.ask(body=STREAMED))
        await until(lambda: len(response.waits) == 2)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    assert log == settled(Ending.DISCONNECTED, "last", "middle", "first")


async def test_a_policy_that_the_configuration_does_not_name_is_not_asked(log: Any) -> None:
    brings = plugin(moegate_admission_policies=lambda: [extension("unused", Policy("unused", log, KeyError("no")))])
    async with running(brings, replies=(FakeResponse(pieces=[b"{}"]),)) as gateway:
        assert (await gateway.ask()).status == 200
    assert log == []
