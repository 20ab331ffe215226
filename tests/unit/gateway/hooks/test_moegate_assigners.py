from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway import Able, Assigned, Call, Copies, CopyLimits, CopyTo, Outcome
from gateway.errors import UpstreamOverloaded, UpstreamRefused
from tests.unit.fakes import FakeResponse
from tests.unit.gateway.in_process import config, running
from tests.unit.gateway.plugin_modules import extension, plugin


class Watch:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.outcomes: list[Outcome] = []

    def sent(self, piece: bytes) -> None:
        self.pieces.append(piece)

    def ended(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)


class ToOne:
    """Every call gets the arm `b`, of these replicas."""

    def __init__(self, *replicas: str, **fields: Any) -> None:
        self.replicas, self.fields = frozenset(replicas), fields
        self.watch = Watch()
        self.able: list[str] = []

    def assign(self, call: Call, able: Able) -> Assigned | None:
        self.able = [replica.name for replica in able()]
        return Assigned("trial=b", 0.25, self.replicas, self.watch, **self.fields)


class Declines:
    def assign(self, call: Call, able: Able) -> Assigned | None:
        return None


class Crashes:
    def assign(self, call: Call, able: Able) -> Assigned | None:
        raise KeyError("inside")


def brings(**assigners: Any) -> Any:
    return plugin(moegate_assigners=lambda: [extension(name, each) for name, each in assigners.items()])


def settings(*use: str) -> Any:
    return config("a", "b", "c", plugins=[{"use": name} for name in use], policies={"routing": []})


def said() -> FakeResponse:
    return FakeResponse(pieces=[b'{"said": 1}'])


FULL = UpstreamOverloaded("full")


async def test_a_call_runs_inside_its_arm_and_the_first_assigner_has_it() -> None:
    one = ToOne("b", "c")
    made = brings(crashes=Crashes(), declines=Declines(), one=one, two=ToOne("a"))
    async with running(made, settings=settings("crashes", "declines", "one", "two"), replies=(FULL, said())) as gateway:
        answer = await gateway.ask()
    assert gateway.asked == ["b", "c"]
    assert (answer.status, answer.headers["x-moegate-arm"]) == (200, "trial=b")
    assert one.able == ["a", "b", "c"]
    assert b"".join(one.watch.pieces) == b'{"said": 1}'
    assert [outcome.status for outcome in one.watch.outcomes] == [200]


async def test_when_its_arm_has_failed_the_others_serve_it() -> None:
    one = ToOne("b")
    async with running(brings(one=one), settings=settings("one"), replies=(FULL, said())) as gateway:
        answer = await gateway.ask()
    assert gateway.asked == ["b", "a"]
    assert (answer.status, answer.headers["x-moegate-arm"]) == (200, "trial=b")


@pytest.mark.parametrize(("fall_back", "status", "asked"), [(True, 200, ["a"]), (False, 503, [])])
async def test_when_its_arm_has_nobody(fall_back: bool, status: int, asked: list[str]) -> None:
    one = ToOne("gone", fall_back=fall_back)
    async with running(brings(one=one), settings=settings("one"), replies=(said(),)) as gateway:
        answer = await gateway.ask()
    assert (answer.status, gateway.asked) == (status, asked)
    assert [outcome.status for outcome in one.watch.outcomes] == [status]


async def test_a_refusal_is_final_wherever_it_comes_from() -> None:
    one = ToOne("b")
    refused = UpstreamRefused("No.", engine_status=400)
    async with running(brings(one=one), settings=settings("one"), replies=(refused,)) as gateway:
        answer = await gateway.ask()
    assert (answer.status, gateway.asked) == (400, ["b"])


async def test_a_watch_that_crashes_costs_the_call_nothing() -> None:
    class Broken:
        def sent(self, piece: bytes) -> None:
            raise KeyError("inside")

        def ended(self, outcome: Outcome) -> None:
            raise KeyError("inside")

    one = ToOne("b")
    one.watch = Broken()  # type: ignore[assignment]
    async with running(brings(one=one), settings=settings("one"), replies=(said(),)) as gateway:
        assert (await gateway.ask()).body == b'{"said": 1}'


async def test_copies_go_beside_the_call_and_nobody_gets_their_answers_but_the_watch() -> None:
    watch = Watch()
    one = ToOne("b", copies=Copies("trial", CopyLimits(), (CopyTo(frozenset({"c"}), watch),)))
    other = FakeResponse(pieces=[b'{"said": 2}'])
    async with running(brings(one=one), settings=settings("one"), replies=(said(), other)) as gateway:
        answer = await gateway.ask()
        async with asyncio.timeout(5):
            while not watch.outcomes:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.01)  # the copy is on its way
    assert gateway.asked == ["b", "c"]
    assert (answer.body, watch.pieces) == (b'{"said": 1}', [b'{"said": 2}'])
    assert [outcome.status for outcome in watch.outcomes] == [200]
