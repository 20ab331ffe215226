from __future__ import annotations

import asyncio

import httpx
import pytest

from backends.openai_compatible import OpenAICompatible
from backends.probing import count, fetch, fetch_gauges, mean_share, ratio, read_gauges
from gateway import Probe, ReplicaState
from tests.unit.backends.looking import Answer, probe

BACKEND = OpenAICompatible()


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (200, ReplicaState.READY),
        (503, ReplicaState.UNREACHABLE),
        (401, ReplicaState.UNREACHABLE),
        (404, ReplicaState.UNREACHABLE),
        (500, ReplicaState.UNREACHABLE),
        (302, ReplicaState.UNREACHABLE),
        (httpx.ConnectError("refused by engine:8000"), ReplicaState.UNREACHABLE),
        (httpx.ReadTimeout("late"), ReplicaState.UNREACHABLE),
        (httpx.RemoteProtocolError("nonsense"), ReplicaState.UNREACHABLE),
    ],
)
async def test_a_probe_never_raises_and_names_no_address(answer: Answer, state: ReplicaState) -> None:
    found, asked = await probe(BACKEND, {"/base/v1/models": answer}, url="http://engine:8000/base")
    assert found.state is state
    assert asked == ["/base/v1/models"]
    assert bool(found.reason) is (state is not ReplicaState.READY)
    assert "engine:8000" not in found.reason


async def test_one_that_has_not_been_ready_yet_may_take_its_time() -> None:
    for state in (ReplicaState.STARTING, ReplicaState.UNREACHABLE):
        found, _ = await probe(BACKEND, {"/v1/models": 503}, state=state)
        assert found.state is ReplicaState.STARTING


# Pages of metrics

PAGE = """\
# HELP a:running Number of requests.
# TYPE a:running gauge
a:running{engine="0",model_name="x } y"} 3.0
a:running{engine="1"} 2.0 1700000000000
a:running_total{engine="0"} 99.0
a:use 0.25
a:hits_total 30
a:queries_total 4e1
a:nan NaN
a:infinite +Inf
a:nonsense x
a:empty
a:labels{only="one"}
"""
NAMES = [
    "a:running",
    "a:use",
    "a:hits_total",
    "a:queries_total",
    "a:nan",
    "a:infinite",
    "a:nonsense",
    "a:empty",
    "a:labels",
]


def test_samples_are_read_whatever_their_labels() -> None:
    assert read_gauges(PAGE, NAMES) == {
        "a:running": [3.0, 2.0],
        "a:use": [0.25],
        "a:hits_total": [30.0],
        "a:queries_total": [40.0],
    }


def test_counts_are_summed_shares_averaged_and_what_is_not_there_is_unknown() -> None:
    gauges = read_gauges(PAGE, NAMES)
    assert (count(gauges, "a:running"), count(gauges, "a:nan")) == (5, None)
    assert (mean_share(gauges, "a:use"), mean_share(gauges, "a:nan")) == (0.25, None)
    assert ratio(gauges, "a:hits_total", "a:queries_total") == 0.75
    assert ratio(gauges, "a:hits_total", "a:nan") is None
    assert ratio({"a": [1.0], "b": [0.0]}, "a", "b") is None
    assert ratio({"a": [3.0], "b": [2.0]}, "a", "b") == 1.0


@pytest.mark.parametrize("page", ["", "\n\n", "<html>", " a:use 1", "a:use", "a:use{", "{} 1", "a:use{} ", "a:use }"])
def test_a_page_that_is_none_says_nothing(page: str) -> None:
    assert read_gauges(page, NAMES) == {}


async def fetched(answer: httpx.Response | Exception | None) -> bytes | None:
    async def engine(_: httpx.Request) -> httpx.Response:
        if answer is None:
            await asyncio.Event().wait()
        if isinstance(answer, Exception):
            raise answer
        assert answer is not None
        return answer

    async with httpx.AsyncClient(transport=httpx.MockTransport(engine)) as client:
        return await fetch(client, "http://engine:8000/metrics")


async def test_what_does_not_come_is_unknown_and_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backends.probing.LOAD_SECONDS", 0.0)
    assert await fetched(None) is None
    monkeypatch.undo()
    assert await fetched(httpx.ReadTimeout("late")) is None
    assert await fetched(httpx.Response(501)) is None
    assert await fetched(httpx.Response(200, content=b"x" * 5_000_000)) is None
    assert await fetched(httpx.Response(200, content=b"x")) == b"x"


async def test_an_engine_that_tells_nothing_is_ready_all_the_same() -> None:
    found, _ = await probe(BACKEND, {"/v1/models": 200})
    assert found == Probe(ReplicaState.READY)
    async with httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(404))) as client:
        assert await fetch_gauges(client, "http://engine:8000/metrics", NAMES) == {}
