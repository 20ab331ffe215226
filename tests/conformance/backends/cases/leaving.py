"""A client that leaves stops its engine, whether it was told something already or not."""

from __future__ import annotations

import time

import httpx
import pytest

from tests.conformance.backends.asking import CHAT, HELLO, faulty
from tests.conformance.backends.case import Need, case
from tests.conformance.backends.target import Target

LONG = {"max_tokens": 4000, "ignore_eos": True}
STARTED_SECONDS = 20.0
# Engines that ask now and then whether their client is still there take this long to notice.
STOPPED_SECONDS = 15.0


def wait_running(target: Target, count: int, seconds: float) -> None:
    """Wait until the engine runs that many requests."""
    assert target.running is not None
    deadline = time.monotonic() + seconds
    while (found := target.running()) != count:
        assert time.monotonic() < deadline, f"the engine runs {found:g} after {seconds:g} s, not {count}"
        time.sleep(0.05)  # an engine has no gate: its gauge is looked at


@case("leaving", Need.RUNNING)
def a_stream_that_is_left_stops_the_engine(target: Target) -> None:
    body = target.body(_question(target), stream=True, **LONG)
    with target.http.stream("POST", CHAT, json=body) as response:
        received = response.iter_bytes()
        next(received)
        wait_running(target, 1, STARTED_SECONDS)
    wait_running(target, 0, STOPPED_SECONDS)


@case("leaving", Need.RUNNING)
def a_plain_answer_that_nobody_waits_for_stops_the_engine(target: Target) -> None:
    fault = "first_byte_stall,gate=left"
    body = target.body(_question(target, fault), **LONG)
    timeout = httpx.Timeout(5.0, read=1.5)
    with pytest.raises(httpx.ReadTimeout):
        target.http.post(CHAT, json=body, timeout=timeout)
    wait_running(target, 0, STOPPED_SECONDS)


@case("leaving", Need.DOOR)
def an_engine_that_is_left_gets_its_next_call(target: Target) -> None:
    with target.http.stream("POST", CHAT, json=target.body(faulty("slow,gate=left"), stream=True)) as response:
        received = response.iter_bytes()  # kept by name: one that is thrown away closes its response
        next(received)
        target.scripted.wait(running=1)
    assert target.scripted.wait(running=0)["aborted"] == 1
    assert "7" in target.chat().choices[0].message.content


def _question(target: Target, fault: str = "endless") -> list[dict[str, object]]:
    return faulty(fault, HELLO) if target.door is not None else HELLO
