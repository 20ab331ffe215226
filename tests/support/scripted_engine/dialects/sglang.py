"""SGLang, as recorded from 0.5.23 on a CPU."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from tests.support.scripted_engine.asked import Asked, Json, Operation
from tests.support.scripted_engine.dialects.chat import ChatShape
from tests.support.scripted_engine.dialects.completions import CompletionShape
from tests.support.scripted_engine.dialects.dialect import Dialect, Overload, Said, Side, anthropic, flat, nested
from tests.support.scripted_engine.dialects.judging import CONTEXT_LENGTH, Judge, Refusal
from tests.support.scripted_engine.dialects.messages import MessagesShape
from tests.support.scripted_engine.dialects.responses import ResponsesShape
from tests.support.scripted_engine.dialects.shape import Shape
from tests.support.scripted_engine.dialects.sides import health, metrics, model_list, page
from tests.support.scripted_engine.turns import Turn
from tests.support.scripted_engine.wire import CREATED, named_sse

if TYPE_CHECKING:
    from tests.support.scripted_engine.state import EngineState

RID = "5b1f0a9c3d7e4e5f8a6b2c4d1e0f9a8b"
END_TOKEN = 163586
FULL = "The request queue is full."
MATCHED: Json = {"matched_stop": None}
RESPONSE_EXTRA = {
    "error": None,
    "previous_response_id": None,
    "reasoning": {"effort": None, "summary": None},
    "store": True,
    "text": None,
    "truncation": "disabled",
    "user": None,
}
_USAGE = {"prompt_tokens_details": {"cached_tokens": 0}, "reasoning_tokens": 0, "completion_tokens_details": None}
_KINDS = {400: "invalid_request_error", 404: "not_found_error", 429: "rate_limit_error", 503: "overloaded_error"}
_GAUGES = {"num_running_reqs": "running", "num_queue_reqs": "", "token_usage": "", "cache_hit_rate": ""}
NOTHING_READ = Turn(prompt_tokens=0)


def error(operation: Operation, refusal: Refusal) -> Json:
    """Flat on chat and completions, nested on responses, an envelope on messages."""
    if operation in (Operation.MESSAGES, Operation.COUNT_TOKENS):
        return anthropic(refusal, _KINDS.get(refusal.status, "api_error"))
    return nested(operation, refusal) if operation is Operation.RESPONSES else flat(operation, refusal)


def stream_error(operation: Operation, refusal: Refusal) -> Json:
    """The flat error, nested."""
    if operation in (Operation.MESSAGES, Operation.RESPONSES):
        return error(operation, refusal)
    return {"error": flat(operation, refusal)}


def _full_message_stream(shape: Shape, asked: Asked) -> Said:
    begun = shape.events(NOTHING_READ, asked)[0]
    failure = named_sse(anthropic(Refusal(503, FULL), "overloaded_error"))
    return Said(events=(begun, failure, named_sse({"type": "message_stop"})))


def full_response(_: Shape, __: Asked) -> Said:
    """An overload that calls itself a wrong request."""
    return Said(400, nested(Operation.RESPONSES, Refusal(400, f"503: {FULL}", "invalid_request_error")))


def full_response_stream(shape: Shape, asked: Asked) -> Said:
    """An overload after two events that promise an answer."""
    return Said(events=tuple(cast("ResponsesShape", shape).unsaid(NOTHING_READ, asked, FULL)))


OVERLOADS: Mapping[tuple[Operation, bool], Overload] = {
    (Operation.MESSAGES, True): _full_message_stream,
    (Operation.RESPONSES, False): full_response,
    (Operation.RESPONSES, True): full_response_stream,
}


def load(state: "EngineState") -> Json:
    """The figures of `/v1/loads` that a gateway may read."""
    figures = ("num_waiting_reqs", "num_used_tokens", "token_usage", "gen_throughput", "cache_hit_rate", "utilization")
    limits = {"max_total_num_tokens": 65_536, "max_running_requests": 16}
    return {"num_running_reqs": state.running, **dict.fromkeys(figures, 0.0), "num_waiting_reqs": 0, **limits}


def _loads(state: "EngineState", _: str) -> bytes:
    found = {"timestamp": 1.0, "dp_rank": 0, **load(state)}
    about = {"timestamp": "2026-11-22T00:00:00+00:00", "version": "0.5.23", "accelerator": None, "num_accelerators": 1}
    return page({**about, "loads": [found]})


SIDES: Mapping[str, Side] = {
    "/health": health,
    "/health_generate": health,
    "/v1/loads": _loads,
    "/model_info": lambda _, __: page(
        {"model_path": "/srv/models/k2", "is_generation": True, "weight_version": "default"}
    ),
    "/server_info": lambda _, __: page({"version": "0.5.23", "max_total_num_tokens": 65_536, "internal_states": [{}]}),
    "/v1/models": lambda _, name: model_list(
        name, created=CREATED, owned_by="sglang", root=name, parent=None, max_model_len=CONTEXT_LENGTH
    ),
    "/metrics": metrics("sglang:", '{{model_name="{model}"}}', _GAUGES),
}


def _metadata(turn: Turn) -> Json:
    versions = [{"version": "default", "start": 0, "end": turn.completion_tokens}]
    return {"metadata": {"weight_version": "default", "weight_versions": versions}}


# It passes stop sequences on, and does not say of an answer that one of them ended it.
NO_STOPS = {"stop_sequence": False, "names_stops": False, "tells_stops": False}


def build(model: str) -> Dialect:
    """The dialect for one served model name."""
    chat = ChatShape(
        model=model,
        id=RID,
        role={"reasoning_content": None, "role": "assistant", "content": ""},
        role_choice=MATCHED,
        delta={"reasoning_content": None},
        streamed_choice=MATCHED,
        stop_key="matched_stop",
        end_token=END_TOKEN,
        finish_apart=True,
        call_delta={"id": None, "type": "function"},
        # Chunks with calls are made elsewhere in it, with all keys.
        call_delta_keys={"role": None, "content": None, "reasoning_content": None},
        call_extra={"usage": None},
        function_delta={"name": None},
        whole_call={"index": 0},
        content_of_calls="",
        usage_extra=_USAGE,
        counted_extra=_metadata,
    )
    completions = CompletionShape(
        model=model,
        id=RID,
        streamed={"usage": None},
        streamed_choice=MATCHED,
        stop_key="matched_stop",
        end_token=END_TOKEN,
        finish_apart=True,
        usage_extra=_USAGE,
        counted_extra=_metadata,
    )
    messages = MessagesShape(
        model=model, id=f"msg_{RID}", signature="", input_in_delta=False, start_nulls=False, **NO_STOPS
    )
    responses = ResponsesShape(
        model=model,
        extra=RESPONSE_EXTRA,
        usage_extra={"cache_write_tokens": 0},
        message_extra={"phase": "final_answer"},
    )
    return Dialect(
        name="sglang",
        shapes={
            Operation.CHAT: chat,
            Operation.COMPLETIONS: completions,
            Operation.MESSAGES: messages,
            Operation.RESPONSES: responses,
        },
        counts={
            Operation.COUNT_TOKENS: lambda count: {"input_tokens": count},
            Operation.TOKENIZE: lambda count: {
                "tokens": list(range(count)),
                "count": count,
                "max_model_len": CONTEXT_LENGTH,
            },
        },
        judge=Judge(
            too_long=Refusal(400, f"The input is longer than the model's context length ({CONTEXT_LENGTH} tokens)."),
            checks_model=frozenset({Operation.RESPONSES}),
            max_top_logprobs=None,
            vocabulary=768,
            needs_stream=False,
        ),
        error=error,
        stream_error=stream_error,
        queue_full=Refusal(503, FULL, "503"),
        queue_full_in_200=True,
        overloads=OVERLOADS,
        serves_while_draining=True,
        sides={**SIDES, "/ready": health},
    )
