from __future__ import annotations

from typing import Any

import pytest
from msgspec import Raw

from backends.shared_engine import SharedEngineSettings
from backends.tensorrt_llm import TensorRTLLM
from gateway import Model, Operation, Probe, ReplicaLoad, ReplicaState
from gateway.errors import UpstreamRefused
from tests.unit.backends.asking import WEATHER, ask, prepared, sent
from tests.unit.backends.looking import probe
from tests.unit.builders import CHECKPOINT

ENGINE = TensorRTLLM()
PLAIN = TensorRTLLM(SharedEngineSettings(cache_salt=False))
PRIORITISED = TensorRTLLM(SharedEngineSettings(cache_salt=False, priority=True))

METRICS = """\
trtllm_num_requests_running{model_name="undefined"} 4.0
trtllm_num_requests_waiting{model_name="undefined"} 2.0
trtllm_kv_cache_utilization{model_name="undefined"} 0.5
trtllm_kv_cache_hit_rate{model_name="undefined"} 0.25
"""


# What it does not know it refuses, so it gets only what it knows


@pytest.mark.parametrize(
    "fields",
    [
        {"metadata": {"a": "b"}},
        {"store": True},
        {"service_tier": "auto"},
        {"prompt_cache_key": "k"},
        {"safety_identifier": "s"},
        {"stream_options": {"include_usage": True}},
        {"verbosity": "low"},
        {"prediction": {"type": "content", "content": "x"}},
    ],
)
def test_what_it_would_refuse_and_changes_nothing_is_left_out_and_named(fields: dict[str, Any]) -> None:
    call = ask(temperature=0.5, **fields)
    request = prepared(PLAIN, call)
    assert sent(PLAIN, call) == {"temperature": 0.5}
    assert request.dropped_params == tuple(fields)
    assert PLAIN.objection(call, object()) is None  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("operation", "fields"),
    [
        (
            Operation.CHAT,
            {"tools": [WEATHER], "tool_choice": "auto", "reasoning_effort": "low", "top_k": 5, "user": "me"},
        ),
        (Operation.CHAT, {"response_format": {"type": "json_object"}, "logprobs": True, "top_logprobs": 2}),
        (Operation.CHAT, {"max_completion_tokens": 5, "min_p": 0.1, "ignore_eos": True, "seed": 1, "stop": ["a"]}),
        (Operation.COMPLETIONS, {"echo": True, "logprobs": 1, "best_of": 2, "max_tokens": 5}),
        (Operation.RESPONSES, {"metadata": {"a": "b"}, "anything": 1}),
    ],
)
def test_what_it_knows_it_gets_as_it_is(operation: Operation, fields: dict[str, Any]) -> None:
    call = ask(operation, **fields)
    assert prepared(PLAIN, call).body is call.body


def test_null_is_left_out_because_it_would_be_refused() -> None:
    assert sent(PLAIN, ask(n=None, top_k=None, tools=None)) == {}


def test_all_tokens_are_zero_here() -> None:
    assert sent(PLAIN, ask(top_k=-1)) == {"top_k": 0}


def test_defaults_are_said_in_its_words_too() -> None:
    model = Model("kimi-k2", (), CHECKPOINT, {"top_k": Raw(b"-1")})
    assert sent(PLAIN, ask(of={"model": model})) == {"top_k": 0}


def test_defaults_that_an_operation_would_not_take_are_not_sent() -> None:
    defaults: Any = {"temperature": 0.6, "top_k": 20}
    model = Model("kimi-k2", (), CHECKPOINT, {name: _raw(value) for name, value in defaults.items()})
    assert sent(PLAIN, ask(of={"model": model})) == defaults
    assert sent(PLAIN, ask(Operation.RESPONSES, of={"model": model})) == {"temperature": 0.6}


def _raw(value: float) -> Raw:
    return Raw(str(value).encode())


# What it alone takes


def test_only_chat_takes_a_salt() -> None:
    assert sent(ENGINE, ask(cache_salt="mine")).keys() == {"cache_salt"}
    assert sent(ENGINE, ask(Operation.COMPLETIONS)) == {}
    assert sent(ENGINE, ask(Operation.RESPONSES)) == {}


def test_priorities_are_shares_of_which_more_is_sooner() -> None:
    found = [
        sent(PRIORITISED, ask(of={"priority": urgency})).get("priority", 0.5) for urgency in (-900, -1, 0, 1, 2, 900)
    ]
    assert found == sorted(found)
    assert len(set(found)) == len(found)
    assert all(0 <= priority <= 1 for priority in found)
    assert sent(PLAIN, ask(of={"priority": 5}, priority=1)) == {}


def test_a_stream_says_that_it_wants_its_usage() -> None:
    assert sent(PLAIN, ask(stream=True)) == {"stream": True, "stream_options": {"include_usage": True}}


# Looking at it


async def test_its_load_is_read_where_reading_takes_nothing_away() -> None:
    found, asked = await probe(ENGINE, {"/health": 200, "/prometheus/metrics": METRICS})
    assert found == Probe(ReplicaState.READY, load=ReplicaLoad(4, 2, 0.5, 0.25))
    assert asked == ["/health", "/prometheus/metrics"]


async def test_without_metrics_its_load_is_unknown() -> None:
    found, asked = await probe(ENGINE, {"/health": 200})
    assert found == Probe(ReplicaState.READY)
    assert "/metrics" not in asked


@pytest.mark.parametrize(
    ("before", "state"),
    [(ReplicaState.STARTING, ReplicaState.STARTING), (ReplicaState.READY, ReplicaState.UNREACHABLE)],
)
async def test_503_means_that_it_starts_or_is_broken(before: ReplicaState, state: ReplicaState) -> None:
    found, _ = await probe(ENGINE, {"/health": 503}, state=before)
    assert found.state is state


def test_its_errors_are_flat() -> None:
    body = b'{"object":"error","message":"top_k must be >= 0","type":"BadRequestError","param":null,"code":400}'
    error = ENGINE.read_error(400, body)
    assert isinstance(error, UpstreamRefused)
    assert error.public_message == "top_k must be >= 0"
