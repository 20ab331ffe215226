from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway import Attempt, Ending, Outcome
from gateway.errors import BodyTooLarge, RequestTimedOut, UpstreamBroken
from gateway.http.exchange import ClientLeft, Exchange
from gateway.http.shapes import OPENAI
from tests.unit.gateway.in_process import FakeLine


class Scene:
    """One exchange; `incoming` are the messages of a body that does not come with the head."""

    def __init__(
        self, body: bytes | None = None, *incoming: dict[str, Any] | asyncio.Event, declared: int | None = None
    ) -> None:
        self.messages: list[dict[str, Any]] = []
        self.leaves = asyncio.Event()
        self.line = FakeLine(self.messages, body, self.leaves)
        waiting = list(incoming)

        async def receive() -> Any:
            message = waiting.pop(0)
            while isinstance(message, asyncio.Event):
                await message.wait()
                message = waiting.pop(0)
            return message

        headers = [] if declared is None else [(b"content-length", b"%d" % declared)]
        state = {"line": self.line, "call_id": "0" * 32}
        self.exchange = Exchange({"headers": headers, "state": state}, receive, OPENAI)  # type: ignore[typeddict-item]
        assert "line" not in state

    async def read(self, limit: int = 10) -> bytes:
        return await self.exchange.read_body(limit, 5)


def piece(body: bytes, *, more: bool) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


LEFT = {"type": "http.disconnect"}


async def test_a_body_that_is_there_is_not_waited_for() -> None:
    assert await Scene(b"0123456789").read() == b"0123456789"


async def test_a_body_in_pieces_is_put_together() -> None:
    assert await Scene(None, piece(b"ab", more=True), piece(b"c", more=True), piece(b"", more=False)).read() == b"abc"


@pytest.mark.parametrize(
    "scene",
    [
        lambda: Scene(b"x" * 11),
        lambda: Scene(None, piece(b"x" * 6, more=True), piece(b"x" * 5, more=True)),
        lambda: Scene(b"{}", declared=11),
    ],
)
async def test_a_body_over_the_limit_is_refused(scene: Any) -> None:
    with pytest.raises(BodyTooLarge):
        await scene().read()


async def test_a_body_that_does_not_come_is_not_waited_for_without_end() -> None:
    with pytest.raises(RequestTimedOut, match="5 seconds"):
        await Scene(None, piece(b"{", more=True), asyncio.Event()).read()


async def test_a_client_that_leaves_during_the_upload() -> None:
    with pytest.raises(ClientLeft):
        await Scene(None, piece(b"{", more=True), LEFT).read()


async def test_a_client_that_leaves_cancels_the_task_that_serves_it() -> None:
    scene = Scene()

    async def serve() -> None:
        scene.exchange.watch()
        await asyncio.Event().wait()

    task = asyncio.create_task(serve())
    scene.leaves.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert scene.exchange.gone


async def test_a_client_that_leaves_later_cancels_nothing() -> None:
    scene = Scene()
    scene.exchange.watch()
    scene.exchange.release()
    scene.leaves.set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not scene.exchange.gone


async def test_a_head_that_cannot_be_sent_leaves_room_for_an_error() -> None:
    scene = Scene()
    scene.line.start = lambda *_: 1 / 0  # type: ignore[method-assign, assignment, return-value]
    with pytest.raises(ZeroDivisionError):
        await scene.exchange.start(200, [])
    assert not scene.exchange.started


async def test_a_failure_says_who_was_tried_and_what_was_changed() -> None:
    scene = Scene()
    outcome = Outcome(
        ending=Ending.FAILED,
        status=0,
        attempts=(Attempt("a", "vllm", "x"), Attempt("b", "sglang", "y")),
        transforms=("tool_ids",),
        dropped_params=("store",),
    )
    await scene.exchange.fail(UpstreamBroken("cut"), outcome)
    start, body = scene.messages
    headers = dict(start["headers"])
    assert (start["status"], outcome.status, body["more_body"]) == (502, 502, False)
    assert headers == {
        b"content-type": b"application/json",
        b"content-length": b"%d" % len(body["body"]),
        b"x-moegate-error": b"upstream_broken",
        b"x-moegate-call-id": b"0" * 32,
        b"x-moegate-backend": b"sglang",
        b"x-moegate-replica": b"b",
        b"x-moegate-attempts": b"2",
        b"x-moegate-transforms": b"tool_ids",
        b"x-moegate-dropped-params": b"store",
    }


async def test_before_the_last_piece_a_slow_client_is_waited_for_and_then_the_hook_runs() -> None:
    scene, seen = Scene(), []

    async def ready() -> None:
        seen.append("ready")

    scene.line.ready = ready  # type: ignore[method-assign]
    scene.exchange.before_last(lambda: seen.append(f"hook after {len(scene.messages)}"))
    await scene.exchange.start(200, [])
    scene.exchange.send(b"a")
    assert seen == []
    await scene.exchange.finish(b"b")
    assert seen == ["ready", "hook after 2"]
    assert len(scene.messages) == 3


async def test_the_hook_runs_before_an_error_too() -> None:
    scene, seen = Scene(), []
    scene.exchange.before_last(lambda: seen.append(scene.exchange.started))
    await scene.exchange.fail(UpstreamBroken("cut"))
    assert len(seen) == 1
