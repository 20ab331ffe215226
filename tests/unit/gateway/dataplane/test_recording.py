from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway import Call, Decision, Ending, Outcome
from gateway.dataplane import recording
from gateway.dataplane.recording import Recording
from tests.unit.builders import make_call, until

OUTCOME = Outcome(ending=Ending.COMPLETED, status=200)


class Recorder:
    def __init__(self, gate: asyncio.Event | None = None, error: Exception | None = None) -> None:
        self.asked = 0
        self.seen: list[str] = []
        self.gate, self.error = gate, error

    async def record(self, call: Call, outcome: Outcome, decision: Decision) -> None:
        self.asked += 1
        if self.gate is not None:
            await self.gate.wait()
        self.seen.append(call.call_id)
        if self.error is not None:
            raise self.error


@pytest.fixture
async def started() -> Any:
    """Starts a recording's reader, and ends it with the test."""
    tasks: list[asyncio.Task[None]] = []

    def start(running: Recording) -> None:
        tasks.append(asyncio.create_task(running.run()))

    yield start
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def put(running: Recording, *call_ids: str) -> None:
    for call_id in call_ids:
        running.put(make_call(call_id=call_id), OUTCOME, Decision())


async def test_every_recorder_gets_every_call_in_order(started: Any) -> None:
    first, second = Recorder(), Recorder()
    running = Recording([("first", first), ("second", second)])
    put(running, "1", "2")
    started(running)
    await running.flush(1)
    assert first.seen == second.seen == ["1", "2"]
    assert (running.dropped, running.failed) == (0, 0)


async def test_a_recorder_that_crashes_is_counted_and_the_others_still_run(started: Any) -> None:
    bad, good = Recorder(error=ValueError("inside")), Recorder()
    running = Recording([("bad", bad), ("good", good)])
    started(running)
    put(running, "1", "2")
    await running.flush(1)
    assert good.seen == ["1", "2"]
    assert running.failed == 2


async def test_putting_never_waits_and_a_full_queue_drops_and_counts(
    started: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "QUEUE_LENGTH", 2)
    gate = asyncio.Event()
    slow = Recorder(gate)
    running = Recording([("slow", slow)])
    started(running)
    put(running, "1")
    await until(lambda: slow.asked == 1)
    put(running, "2", "3", "4", "5")
    assert running.dropped == 2
    gate.set()
    await running.flush(1)
    assert slow.seen == ["1", "2", "3"]


async def test_flush_waits_for_the_record_that_is_being_written(started: Any) -> None:
    gate = asyncio.Event()
    slow = Recorder(gate)
    running = Recording([("slow", slow)])
    started(running)
    put(running, "1")
    flushing = asyncio.create_task(running.flush(60))
    await until(lambda: slow.asked == 1)
    assert not flushing.done()
    gate.set()
    await flushing
    assert slow.seen == ["1"]


async def test_flush_gives_up_in_time(started: Any) -> None:
    running = Recording([("stuck", Recorder(asyncio.Event()))])
    started(running)
    put(running, "1")
    before = asyncio.get_running_loop().time()
    await running.flush(5)
    assert 5 <= asyncio.get_running_loop().time() - before < 6


async def test_without_recorders_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "QUEUE_LENGTH", 1)
    running = Recording([])
    put(running, "1", "2", "3")
    assert running.dropped == 0
    before = asyncio.get_running_loop().time()
    await running.flush(60)
    assert asyncio.get_running_loop().time() - before < 1


async def test_a_cancelled_reader_leaves_the_queue_countable(started: Any) -> None:
    stuck = Recorder(asyncio.Event())
    running = Recording([("stuck", stuck)])
    reader = asyncio.create_task(running.run())
    put(running, "1")
    await until(lambda: stuck.asked == 1)
    reader.cancel()
    await asyncio.gather(reader, return_exceptions=True)
    before = asyncio.get_running_loop().time()
    await running.flush(60)
    assert asyncio.get_running_loop().time() - before < 1
