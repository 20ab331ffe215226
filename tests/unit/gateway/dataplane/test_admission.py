from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest

from gateway import Call, Ending, Outcome
from gateway.dataplane.admission import Leases, admit
from gateway.errors import PolicyFailed, QuotaExceeded
from tests.unit.builders import make_call, until

OUTCOME = Outcome(ending=Ending.COMPLETED, status=200)


class Lease:
    """Notes when it is settled; with a gate, it takes until that opens."""

    def __init__(self, name: str, log: list[str], gate: asyncio.Event | None = None, error: str = "") -> None:
        self.name, self.log, self.gate, self.error = name, log, gate, error

    def settle(self, outcome: Outcome) -> Awaitable[None] | None:
        assert outcome is OUTCOME
        if self.gate is not None:
            return self._settle_slowly(self.gate)
        self._note()
        return None

    async def _settle_slowly(self, gate: asyncio.Event) -> None:
        self.log.append(f"{self.name}?")
        await gate.wait()
        self._note()

    def _note(self) -> None:
        self.log.append(self.name)
        if self.error:
            raise RuntimeError(self.error)


class Policy:
    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.asked = 0

    async def admit(self, call: Call) -> Any:
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def open_gate() -> asyncio.Event:
    gate = asyncio.Event()
    gate.set()
    return gate


def leases_of(*granted: Lease) -> Leases:
    leases = Leases()
    for lease in granted:
        leases.add(f"policy of {lease.name}", lease)
    return leases


# Admitting


async def test_policies_are_asked_in_order_and_their_leases_are_settled_in_reverse() -> None:
    log: list[str] = []
    leases = Leases()
    policies = [(name, Policy(Lease(name, log))) for name in "abc"]
    await admit(policies, make_call(), leases)
    await leases.settle(OUTCOME)
    assert log == ["c", "b", "a"]


async def test_a_policy_may_grant_without_a_lease() -> None:
    leases = Leases()
    await admit([("a", Policy(None))], make_call(), leases)
    await leases.settle(OUTCOME)


async def test_a_refusal_stops_the_asking_and_keeps_what_was_granted() -> None:
    log: list[str] = []
    leases, after = Leases(), Policy(None)
    with pytest.raises(QuotaExceeded):
        await admit(
            [("a", Policy(Lease("a", log))), ("b", Policy(QuotaExceeded("no"))), ("c", after)], make_call(), leases
        )
    assert after.asked == 0
    await leases.settle(OUTCOME)
    assert log == ["a"]


async def test_a_policy_that_crashes_refuses_the_call() -> None:
    crash = ValueError("inside")
    with pytest.raises(PolicyFailed, match="admission policy b crashed on 0000") as caught:
        await admit([("a", Policy(None)), ("b", Policy(crash))], make_call(), Leases())
    assert caught.value.__cause__ is crash


# Settling


async def test_settling_twice_settles_once() -> None:
    log: list[str] = []
    leases = leases_of(Lease("a", log), Lease("b", log, open_gate()))
    await leases.settle(OUTCOME)
    await leases.settle(OUTCOME)
    assert log == ["b?", "b", "a"]


async def test_settling_at_the_same_time_settles_once() -> None:
    log: list[str] = []
    gate = asyncio.Event()
    leases = leases_of(Lease("a", log), Lease("b", log, gate))
    both = asyncio.gather(leases.settle(OUTCOME), leases.settle(OUTCOME))
    await until(lambda: "b?" in log)
    gate.set()
    await both
    assert sorted(log) == ["a", "b", "b?"]


async def test_an_async_settle_is_waited_for_before_the_one_below_it() -> None:
    log: list[str] = []
    gate = asyncio.Event()
    leases = leases_of(Lease("a", log), Lease("b", log, gate), Lease("c", log))
    task = asyncio.create_task(leases.settle(OUTCOME))
    await until(lambda: "b?" in log)
    assert log == ["c", "b?"]
    gate.set()
    await task
    assert log == ["c", "b?", "b", "a"]


@pytest.mark.parametrize("slow", [False, True])
async def test_a_crash_in_one_does_not_stop_the_others(slow: bool) -> None:
    log: list[str] = []
    gate = open_gate() if slow else None
    leases = leases_of(Lease("a", log), Lease("b", log, gate, error="inside"), Lease("c", log, gate))
    await leases.settle(OUTCOME)
    assert [name for name in log if "?" not in name] == ["c", "b", "a"]


@pytest.mark.parametrize("times", [1, 3])
async def test_a_cancellation_waits_until_all_are_settled(times: int) -> None:
    log: list[str] = []
    first, second = asyncio.Event(), asyncio.Event()
    leases = leases_of(Lease("a", log, second), Lease("b", log), Lease("c", log, first))
    task = asyncio.create_task(leases.settle(OUTCOME))
    await until(lambda: "c?" in log)
    for _ in range(times):
        task.cancel()
        await asyncio.sleep(0)
    assert not task.done()
    first.set()
    await until(lambda: "a?" in log)
    task.cancel()
    second.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert log == ["c?", "c", "b", "a?", "a"]


async def test_a_settle_that_returns_nonsense_is_a_crash_of_that_policy_alone() -> None:
    class Nonsense:
        def settle(self, outcome: Outcome) -> Any:
            return 3

    log: list[str] = []
    leases = leases_of(Lease("a", log))
    leases.add("nonsense", Nonsense())
    await leases.settle(OUTCOME)
    assert log == ["a"]
