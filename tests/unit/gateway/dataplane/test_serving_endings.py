from __future__ import annotations

import asyncio

import pytest

from gateway import Ending, Outcome
from gateway.errors import (
    UpstreamTimeout,
    UpstreamUnreachable,
)
from tests.unit.builders import make_pool, until
from tests.unit.fakes import FakeBackend, FakeClient, FakeResponse
from tests.unit.gateway.dataplane.scene import Scene, stream

DONE = b"data: [DONE]\n\n"


# The journal: a process may be killed right after the last byte has left


@pytest.mark.parametrize("streamed", [False, True])
async def test_an_answer_is_written_down_before_its_last_piece_leaves(streamed: bool) -> None:
    scene = Scene(stream(b"data: a\n\n", b"data: [DONE]\n\n") if streamed else FakeResponse(pieces=[b"{}"]))
    await scene.serve(stream=streamed)
    assert scene.client.complete
    assert scene.journal == [(Ending.COMPLETED, 200, False)]


async def test_a_client_that_leaves_before_the_last_piece_is_written_down_as_gone() -> None:
    gate = asyncio.Event()
    scene = Scene(FakeResponse(pieces=[b"{}"]))
    scene.client = FakeClient(write_gate=gate)
    task = asyncio.create_task(scene.serve())
    await until(lambda: scene.client.started)
    scene.client.gone = True
    task.cancel()
    await task
    assert scene.journal == [(Ending.DISCONNECTED, 499, False)]


# Clients that leave, and the server's own end


@pytest.mark.parametrize("where", ["before the first byte", "in the middle", "while it is written to"])
async def test_a_client_that_leaves(where: str) -> None:
    gate = asyncio.Event()
    response = stream(gate) if where == "before the first byte" else stream(b"data: a\n\n", gate)
    scene = Scene(response)
    if where == "while it is written to":
        scene.client = FakeClient(write_gate=gate)
    task = asyncio.create_task(scene.serve(stream=True))
    await until(lambda: response.waits != [] and (where == "before the first byte" or scene.client.started))
    scene.client.gone = True
    task.cancel()
    outcome = await task
    scene.check_settled_once()
    assert (outcome.ending, outcome.status, outcome.error_code) == (Ending.DISCONNECTED, 499, None)
    assert response.closed == 1
    assert not task.cancelling()


async def test_the_server_s_own_cancellation_goes_on_after_the_call_was_settled_and_recorded() -> None:
    scene = Scene(stream(b"data: a\n\n", asyncio.Event()))
    task = asyncio.create_task(scene.serve(stream=True))
    await until(lambda: scene.client.started)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    scene.check_settled_once()


async def test_a_cancellation_while_leases_are_settled_loses_neither_lease_nor_record() -> None:
    gate = asyncio.Event()
    scene = Scene(FakeResponse(pieces=[b"the answer"]), settle_gate=gate)
    task = asyncio.create_task(scene.serve())
    await until(lambda: len(scene.settled) == 1)
    task.cancel()
    await asyncio.sleep(0)
    assert scene.recorded == []
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    scene.check_settled_once()
    assert scene.outcome.ending is Ending.COMPLETED


async def test_a_client_that_left_while_it_was_told_of_a_failure() -> None:
    scene = Scene(UpstreamUnreachable("dead"))

    async def fail(error: Exception, outcome: Outcome) -> None:
        scene.client.gone = True
        raise asyncio.CancelledError

    scene.client.fail = fail  # type: ignore[method-assign]
    outcome = await scene.serve()
    scene.check_settled_once()
    assert (outcome.ending, outcome.status) == (Ending.DISCONNECTED, 499)


async def test_what_ended_calls_have_left_to_do_is_waited_for_but_not_for_ever() -> None:
    never, answered = asyncio.Event(), FakeResponse(pieces=[b"{}"])
    scene = Scene(UpstreamTimeout("late"), answered, UpstreamTimeout("late"), never)
    scene.pool = make_pool(*scene.replicas, backend=FakeBackend(must_be_told=True))
    await scene.serve()
    await scene.serving.finish(1)
    assert answered.closed == 1
    scene.recorded.clear()
    await scene.serve()
    async with asyncio.timeout(3):
        await scene.serving.finish(1)
    assert [sent.target for sent in scene.connections.sent] == [b"/generate", b"/abort"] * 2
