from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from backends.ktransformers import KTransformers, KTransformersSettings
from backends.sglang import SGLang, SGLangSettings
from gateway import Capability, Operation, Probe, ReplicaLoad, ReplicaState
from gateway.errors import UpstreamOverloaded, UpstreamRefused
from tests.unit.backends.asking import WEATHER, ask, prepared, sent
from tests.unit.backends.looking import Answer, probe

ENGINE = SGLang()
UNSALTED = SGLang(SGLangSettings(cache_salt=False))
FORK = KTransformers()
BOTH = pytest.mark.parametrize("engine", [ENGINE, FORK])

LOADS: dict[str, Any] = {
    "timestamp": "2026-11-22T20:00:00",
    "version": "0.5.23",
    "loads": [
        {"dp_rank": 0, "num_running_reqs": 3, "num_waiting_reqs": 1, "token_usage": 0.5, "cache_hit_rate": 0.2},
        {"dp_rank": 1, "num_running_reqs": 1, "num_waiting_reqs": 0, "token_usage": 0.1, "cache_hit_rate": 0.4},
    ],
}
READ = ReplicaLoad(4, 1, 0.3, pytest.approx(0.3))  # type: ignore[arg-type]


# Looking at it


async def test_it_tells_of_its_readiness_without_generating() -> None:
    found, asked = await probe(ENGINE, {"/ready": 200, "/v1/loads?include=core": LOADS})
    assert found == Probe(ReplicaState.READY, load=READ)
    assert asked == ["/ready", "/v1/loads?include=core"]


@pytest.mark.parametrize(
    ("answer", "before", "state"),
    [
        (503, ReplicaState.STARTING, ReplicaState.STARTING),
        (503, ReplicaState.READY, ReplicaState.DRAINING),
        (503, ReplicaState.DRAINING, ReplicaState.DRAINING),
        (500, ReplicaState.READY, ReplicaState.UNREACHABLE),
        (httpx.ConnectError("no"), ReplicaState.DRAINING, ReplicaState.UNREACHABLE),
    ],
)
async def test_one_that_warms_up_or_shuts_down_is_not_ready(
    answer: Answer, before: ReplicaState, state: ReplicaState
) -> None:
    found, asked = await probe(ENGINE, {"/ready": answer}, state=before)
    assert (found.state, asked) == (state, ["/ready"])


@BOTH
@pytest.mark.parametrize(
    ("pages", "before", "state", "paths"),
    [
        ({"/health": 503}, ReplicaState.STARTING, ReplicaState.STARTING, ["/health"]),
        ({"/health": 200}, ReplicaState.STARTING, ReplicaState.READY, ["/health", "/v1/loads?include=core"]),
        ({"/model_info": 200}, ReplicaState.READY, ReplicaState.READY, ["/model_info", "/v1/loads?include=core"]),
        ({"/model_info": httpx.ConnectError("no")}, ReplicaState.READY, ReplicaState.UNREACHABLE, ["/model_info"]),
    ],
)
async def test_one_that_cannot_tell_is_asked_to_generate_only_until_it_is_ready(
    engine: SGLang, pages: dict[str, Answer], before: ReplicaState, state: ReplicaState, paths: list[str]
) -> None:
    found, asked = await probe(engine, pages, state=before)
    assert found.state is state
    assert asked == (["/ready"] if engine is ENGINE else []) + paths


@BOTH
@pytest.mark.parametrize(
    ("loads", "load"),
    [
        (LOADS, READ),
        ({"loads": [{"num_running_reqs": 2}]}, ReplicaLoad(running=2)),
        ({"loads": []}, None),
        ({}, None),
        (b"nonsense", None),
        (404, None),
        (httpx.ReadTimeout("the scheduler is at a long prompt"), None),
    ],
)
async def test_a_load_that_it_does_not_tell_is_unknown(engine: SGLang, loads: Answer, load: ReplicaLoad | None) -> None:
    found, _ = await probe(engine, {"/ready": 200, "/model_info": 200, "/v1/loads?include=core": loads})
    assert found == Probe(ReplicaState.READY, load=load)


# Asking it


@BOTH
@pytest.mark.parametrize("operation", [Operation.CHAT, Operation.COMPLETIONS])
def test_a_request_has_the_attempt_s_id_so_that_it_can_be_aborted(engine: SGLang, operation: Operation) -> None:
    request = prepared(engine, ask(operation, rid="mine", extra_key="mine"))
    body = json.loads(request.body)
    assert (body["rid"], "extra_key" in body) == ("call-1", False)
    abort = engine.abort(request)
    assert abort is not None
    assert (abort.path, json.loads(abort.body)) == ("/abort_request", {"rid": "call-1"})


@BOTH
def test_responses_have_ids_of_another_form(engine: SGLang) -> None:
    request = prepared(engine, ask(Operation.RESPONSES))
    assert json.loads(request.body)["request_id"] == "resp_call-1"
    abort = engine.abort(request)
    assert abort is not None
    assert json.loads(abort.body) == {"rid": "resp_call-1"}


@BOTH
@pytest.mark.parametrize("operation", [Operation.MESSAGES, Operation.COUNT_TOKENS, Operation.TOKENIZE])
def test_the_others_take_nothing_of_ours(engine: SGLang, operation: Operation) -> None:
    call = ask(operation)
    request = prepared(engine, call)
    assert request.body is call.body
    assert engine.abort(request) is None


@pytest.mark.parametrize("operation", [Operation.CHAT, Operation.COMPLETIONS, Operation.RESPONSES])
def test_each_tenant_has_its_own_part_of_the_prefix_cache(operation: Operation) -> None:
    assert len(sent(ENGINE, ask(operation, cache_salt="mine"))["cache_salt"]) == 40
    assert Capability.CACHE_SALT in ENGINE.capabilities


def test_but_not_of_the_fork_s_which_loses_the_salt() -> None:
    assert "cache_salt" not in sent(FORK, ask(cache_salt="mine"))
    assert Capability.CACHE_SALT not in FORK.capabilities


def test_the_fork_has_the_same_priorities() -> None:
    engine = KTransformers(KTransformersSettings(priority=True, low_priority_first=True))
    assert sent(engine, ask(of={"priority": 5}))["priority"] == -5
    assert Capability.PRIORITY in engine.capabilities


@pytest.mark.parametrize(
    ("settings", "urgency", "priority"),
    [
        (SGLangSettings(priority=True), 5, 5),
        (SGLangSettings(priority=True, low_priority_first=True), 5, -5),
        (SGLangSettings(priority=True), 0, 0),
        (SGLangSettings(), 5, None),
    ],
)
def test_priority_goes_in_the_scheduler_s_direction(
    settings: SGLangSettings, urgency: int, priority: int | None
) -> None:
    engine = SGLang(settings)
    assert sent(engine, ask(of={"priority": urgency}, priority=99)).get("priority") == priority
    assert (Capability.PRIORITY in engine.capabilities) is settings.priority


def test_all_tokens_are_minus_one_here() -> None:
    request = prepared(UNSALTED, ask(top_k=0))
    assert json.loads(request.body)["top_k"] == -1
    assert request.transforms == ("spelling",)
    assert sent(UNSALTED, ask(top_k=20))["top_k"] == 20


@BOTH
def test_null_is_left_out_because_it_would_be_refused(engine: SGLang) -> None:
    body = sent(engine, ask(n=None, frequency_penalty=None, temperature=None, tools=[WEATHER]))
    assert body.keys() - {"cache_salt"} == {"tools", "rid"}
    assert prepared(engine, ask(n=None)).dropped_params == ()


# Its errors


@pytest.mark.parametrize(
    "error",
    [
        {"object": "error", "message": "The request queue is full.", "type": "503", "param": None, "code": 503},
        {
            "error": {
                "object": "error",
                "message": "The request queue is full.",
                "type": "ServiceUnavailable",
                "code": 503,
            }
        },
    ],
)
def test_a_full_queue_is_an_overload_whether_it_comes_as_a_status_or_in_the_first_event(error: dict[str, Any]) -> None:
    body = json.dumps(error).encode()
    assert isinstance(ENGINE.read_error(503, body), UpstreamOverloaded)
    assert isinstance(ENGINE.read_first_event(b"data: " + body + b"\n\n"), UpstreamOverloaded)


def test_what_it_says_of_bad_json_names_no_file_of_its_own() -> None:
    message = (
        "1 validation error:\n  {'type': 'json_invalid', 'loc': ('body', 34), 'msg': 'JSON decode error', 'input': {}}\n\n"
        '  File "/opt/venv/lib/python3.11/site-packages/sglang/srt/entrypoints/http_server.py", line 1870, in chat\n'
        "    POST /v1/chat/completions [{'type': 'json_invalid'}]"
    )
    flat = {"object": "error", "message": message, "type": "Bad Request", "param": None, "code": 400}
    error = ENGINE.read_error(400, json.dumps(flat).encode())
    assert isinstance(error, UpstreamRefused)
    assert error.public_message == "JSON decode error"


def test_they_are_two_engines_to_records_and_headers() -> None:
    assert (ENGINE.kind, FORK.kind) == ("sglang", "ktransformers")
    assert ENGINE.operations == FORK.operations == frozenset(Operation)
    assert (ENGINE.introspection.tokenizes_chats, FORK.introspection.tokenizes_chats) == (True, False)


def test_a_full_queue_is_one_too_where_responses_call_it_a_bad_request() -> None:
    body = b'{"error":{"message":"503: The request queue is full.","type":"invalid_request_error","param":null,"code":400}}'
    assert isinstance(ENGINE.read_error(400, body), UpstreamOverloaded)


def function(**fields: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "get_time", **fields}}


def test_a_tool_whose_strict_is_null_loses_it_for_the_fork() -> None:
    tools = [function(strict=None, parameters={"strict": None}), function(strict=True), {"type": "other"}]
    call = ask(tools=tools)
    assert sent(FORK, call)["tools"] == [function(parameters={"strict": None}), *tools[1:]]
    assert "spelling" in prepared(FORK, call).transforms
    assert sent(ENGINE, call)["tools"] == tools


@pytest.mark.parametrize(
    "tools", [[function(strict=False)], [function()], [{"function": 3, "strict": None}], "strict", None]
)
def test_and_any_others_stay_as_they_are(tools: Any) -> None:
    call = ask(tools=tools)
    assert sent(FORK, call).get("tools") == tools
    assert "spelling" not in prepared(FORK, call).transforms
