from __future__ import annotations

from typing import Any

import httpx
import pytest

from backends.vllm import VLLM
from gateway import Probe, ReplicaLoad, ReplicaState
from tests.unit.builders import make_replica

METRICS = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="kimi-k2"} 3.0
vllm:num_requests_running{engine="1",model_name="kimi-k2"} 2.0
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="kimi-k2"} 1.0
vllm:num_requests_waiting_by_reason{engine="0",reason="capacity"} 9.0
vllm:kv_cache_usage_perc{engine="0"} 0.25
"""


async def probe(metrics: str | int | Exception, health: int | Exception = 200) -> Probe:
    def engine(request: httpx.Request) -> httpx.Response:
        answer: Any = health if request.url.path == "/health" else metrics
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer) if isinstance(answer, int) else httpx.Response(200, text=answer)

    async with httpx.AsyncClient(transport=httpx.MockTransport(engine)) as client:
        return await VLLM().probe(client, make_replica())


async def test_the_load_is_the_sum_over_the_engines_of_a_server() -> None:
    assert await probe(METRICS) == Probe(ReplicaState.READY, load=ReplicaLoad(running=5, waiting=1))


@pytest.mark.parametrize(
    ("metrics", "load"),
    [
        ("", ReplicaLoad()),
        ("vllm:num_requests_running 4\n", ReplicaLoad(running=4)),
        ("vllm:num_requests_waiting 0.0", ReplicaLoad(waiting=0)),
        ("vllm:num_requests_running 4.0 1700000000000\n", ReplicaLoad(running=4)),
        ('vllm:num_requests_running{model_name="a } b"} 4.0\n', ReplicaLoad(running=4)),
        ("vllm:num_requests_running NaN\nvllm:num_requests_waiting +Inf\n", ReplicaLoad()),
        ("vllm:num_requests_running\n", ReplicaLoad()),
        ("vllm:num_requests_running nonsense\n", ReplicaLoad()),
        ("vllm:num_requests_running_total 7\n", ReplicaLoad()),
        (404, ReplicaLoad()),
        ("<html>", ReplicaLoad()),
    ],
)
async def test_what_the_metrics_do_not_say_is_unknown_and_no_reason_to_drop_a_healthy_engine(
    metrics: str | int, load: ReplicaLoad
) -> None:
    assert await probe(metrics) == Probe(ReplicaState.READY, load=load)


async def test_metrics_that_do_not_come_are_no_reason_either() -> None:
    assert await probe(httpx.ReadTimeout("late")) == Probe(ReplicaState.READY)


@pytest.mark.parametrize("health", [503, 500, httpx.ConnectError("refused")])
async def test_an_engine_that_is_not_well_is_not_asked_for_its_load(health: int | Exception) -> None:
    found = await probe(AssertionError("asked for metrics"), health)
    assert found.state is not ReplicaState.READY
    assert found.load is None


def test_it_is_vllm_to_records_and_headers() -> None:
    assert VLLM().kind == "vllm"
    assert VLLM().launcher is None
