from __future__ import annotations

from typing import Any

import httpx
import pytest

from backends.shared_engine import SharedEngineSettings
from backends.vllm import VLLM, VLLMSettings
from gateway import Capability, Operation, Probe, ReplicaLoad, ReplicaState, Secret
from gateway.errors import UpstreamBroken, UpstreamError, UpstreamOverloaded, UpstreamUnreachable
from tests.unit.backends.asking import WEATHER, ask, prepared, sent
from tests.unit.backends.looking import Answer, probe
from tests.unit.builders import PRINCIPAL

ENGINE = VLLM()
UNSALTED = VLLM(SharedEngineSettings(cache_salt=False))

# As vLLM 0.32 writes it, shortened.
METRICS = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="kimi-k2"} 3.0
vllm:num_requests_running{engine="1",model_name="kimi-k2"} 2.0
vllm:num_requests_waiting{engine="0",model_name="kimi-k2"} 1.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="kimi-k2",reason="capacity"} 9.0
vllm:engine_sleep_state{engine="0",model_name="kimi-k2",sleep_state="awake"} 1.0
vllm:engine_sleep_state{engine="0",model_name="kimi-k2",sleep_state="weights_offloaded"} 0.0
vllm:kv_cache_usage_perc{engine="0",model_name="kimi-k2"} 0.25
vllm:kv_cache_usage_perc{engine="1",model_name="kimi-k2"} 0.75
vllm:prefix_cache_queries_total{engine="0",model_name="kimi-k2"} 40.0
vllm:prefix_cache_queries_created{engine="0",model_name="kimi-k2"} 1.79e+09
vllm:prefix_cache_hits_total{engine="0",model_name="kimi-k2"} 10.0
"""


# Looking at it


async def test_the_load_is_that_of_all_the_engines_of_a_server() -> None:
    found, asked = await probe(ENGINE, {"/health": 200, "/metrics": METRICS})
    assert found == Probe(ReplicaState.READY, load=ReplicaLoad(5, 1, 0.5, 0.25))
    assert asked == ["/health", "/metrics"]


@pytest.mark.parametrize(
    ("metrics", "load"),
    [
        ("", ReplicaLoad()),
        ("vllm:num_requests_running 4\n", ReplicaLoad(running=4)),
        ("vllm:num_requests_waiting 0.0", ReplicaLoad(waiting=0)),
        ("vllm:num_requests_running NaN\nvllm:num_requests_waiting +Inf\n", ReplicaLoad()),
        ("vllm:num_requests_running_total 7\n", ReplicaLoad()),
        ("vllm:prefix_cache_queries_total 0.0\nvllm:prefix_cache_hits_total 0.0", ReplicaLoad()),
        ("<html>", ReplicaLoad()),
        (404, None),
        (httpx.ReadTimeout("late"), None),
    ],
)
async def test_what_the_metrics_do_not_say_is_unknown_and_no_reason_to_drop_a_healthy_engine(
    metrics: Answer, load: ReplicaLoad | None
) -> None:
    found, _ = await probe(ENGINE, {"/health": 200, "/metrics": metrics})
    assert found == Probe(ReplicaState.READY, load=load)


@pytest.mark.parametrize("health", [503, 500, httpx.ConnectError("refused")])
async def test_an_engine_that_is_not_well_is_not_asked_for_its_load(health: Answer) -> None:
    for before in (ReplicaState.READY, ReplicaState.STARTING):
        found, asked = await probe(ENGINE, {"/health": health}, state=before)
        assert found.state is ReplicaState.UNREACHABLE  # its port is open once its model is loaded
        assert asked == ["/health"]


async def test_an_engine_that_sleeps_is_not_ready_though_its_server_is_well() -> None:
    asleep = METRICS.replace('sleep_state="awake"} 1.0', 'sleep_state="awake"} 0.0')
    found, _ = await probe(ENGINE, {"/health": 200, "/metrics": asleep})
    assert found == Probe(ReplicaState.SLEEPING, "the engine sleeps")


PAUSABLE = VLLM(VLLMSettings(tells_pauses=True))


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        ({"is_paused": True}, ReplicaState.PAUSED),
        ({"is_paused": False}, ReplicaState.READY),
        ({"error": "no"}, ReplicaState.READY),
        ("not JSON", ReplicaState.READY),
        (404, ReplicaState.READY),
    ],
)
async def test_one_that_tells_of_pauses_is_asked_for_them(answer: Answer, state: ReplicaState) -> None:
    found, asked = await probe(PAUSABLE, {"/health": 200, "/is_paused": answer, "/metrics": METRICS})
    assert found.state is state
    assert asked[:2] == ["/health", "/is_paused"]


# Asking it


@pytest.mark.parametrize("operation", [Operation.CHAT, Operation.COMPLETIONS, Operation.RESPONSES, Operation.MESSAGES])
def test_each_tenant_has_its_own_part_of_the_prefix_cache(operation: Operation) -> None:
    def salt(backend: VLLM, tenant: str) -> Any:
        of = {"principal": type(PRINCIPAL)("k", "k", tenant)}
        return sent(backend, ask(operation, of=of, cache_salt="mine"))["cache_salt"]

    assert salt(ENGINE, "a") == salt(VLLM(), "a") != salt(ENGINE, "b")
    assert salt(VLLM(SharedEngineSettings(cache_salt_key=Secret("x"))), "a") != salt(ENGINE, "a")
    # entrypoints/generate/base/protocol.py: at most 128 characters, none of @ / \ NUL
    assert salt(ENGINE, "ä/@\\").isalnum()
    assert len(salt(ENGINE, "a")) <= 128


@pytest.mark.parametrize("operation", [Operation.COUNT_TOKENS, Operation.TOKENIZE])
def test_what_caches_nothing_gets_no_salt(operation: Operation) -> None:
    assert sent(ENGINE, ask(operation)) == {}


def test_an_operator_may_let_tenants_share_the_cache() -> None:
    call = ask()
    assert prepared(UNSALTED, call).body is call.body
    assert Capability.CACHE_SALT in ENGINE.capabilities
    assert Capability.CACHE_SALT not in UNSALTED.capabilities


@pytest.mark.parametrize(("urgency", "priority"), [(5, -5), (-3, 3), (0, None)])
def test_a_lower_priority_is_served_first(urgency: int, priority: int | None) -> None:
    engine = VLLM(SharedEngineSettings(priority=True, cache_salt=False))
    assert sent(engine, ask(of={"priority": urgency})).get("priority") == priority
    assert Capability.PRIORITY in engine.capabilities


def test_an_engine_without_priorities_gets_none_because_it_would_refuse_the_request() -> None:
    assert sent(UNSALTED, ask(of={"priority": 5}, priority=9)) == {}
    assert Capability.PRIORITY not in ENGINE.capabilities


def test_a_body_in_which_nothing_is_unusual_gets_only_the_salt() -> None:
    call = ask(tools=[WEATHER], temperature=0.5, structured_outputs={"regex": "a+"}, top_k=-1, stop=None)
    assert prepared(UNSALTED, call).body is call.body
    assert prepared(ENGINE, call).transforms == ()


def test_the_attempt_s_id_goes_in_a_header_which_it_takes_for_its_own() -> None:
    assert dict(prepared(ENGINE, ask(request_id="mine")).headers)[b"x-request-id"] == b"call-1"
    assert ENGINE.abort(prepared(ENGINE, ask())) is None


# Its errors


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("cannot schedule new futures after shutdown", UpstreamOverloaded),
        ("EngineCore encountered an issue. See stack trace (above) for the root cause.", UpstreamUnreachable),
        ("Internal server error", UpstreamBroken),
    ],
)
def test_a_server_that_is_going_says_so_with_500(message: str, kind: type[UpstreamError]) -> None:
    body = b'{"error":{"message":"%b","type":"InternalServerError","param":null,"code":500}}' % message.encode()
    assert type(ENGINE.read_error(500, body)) is kind
    assert type(ENGINE.read_first_event(b"data: " + body + b"\n\n")) is kind


def test_it_is_vllm_to_records_and_headers() -> None:
    assert ENGINE.kind == "vllm"
    assert ENGINE.operations == frozenset(Operation)
    assert ENGINE.introspection.tokenizes_chats
