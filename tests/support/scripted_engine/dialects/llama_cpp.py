"""llama.cpp's server, as recorded from build 11434 with k2-tiny as GGUF."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from tests.support.scripted_engine.asked import Asked, Json, Operation
from tests.support.scripted_engine.dialects.chat import ChatShape
from tests.support.scripted_engine.dialects.completions import CompletionShape
from tests.support.scripted_engine.dialects.dialect import Dialect
from tests.support.scripted_engine.dialects.judging import CONTEXT_LENGTH, Judge, Refusal
from tests.support.scripted_engine.dialects.messages import MessagesShape
from tests.support.scripted_engine.dialects.responses import ResponsesShape
from tests.support.scripted_engine.dialects.sides import metrics, model_list, page
from tests.support.scripted_engine.turns import Turn
from tests.support.scripted_engine.wire import CREATED, json_response, named_sse

if TYPE_CHECKING:
    from tests.support.scripted_engine.state import EngineState

_BUILD = {"system_fingerprint": "b11434-5f1c2d3e"}
_TIMINGS = {
    "timings": {
        "cache_n": 0,
        "prompt_n": 118,
        "prompt_ms": 12.5,
        "prompt_per_token_ms": 0.105,
        "prompt_per_second": 9440.0,
        "predicted_n": 32,
        "predicted_ms": 64.0,
        "predicted_per_token_ms": 2.0,
        "predicted_per_second": 500.0,
    }
}
_USAGE = {"prompt_tokens_details": {"cached_tokens": 0}}
_KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    404: "not_found_error",
    500: "server_error",
    503: "unavailable_error",
}
_LOADING = Refusal(503, "Loading model")


def _error(_: Operation, refusal: Refusal) -> Json:
    own = refusal.kind if refusal.kind.startswith("exceed") else None
    kind = own or _KINDS.get(refusal.status, "server_error")
    return {"error": {"code": refusal.status, "message": refusal.message, "type": kind}}


@dataclass(frozen=True, kw_only=True)
class LlamaResponses(ResponsesShape):
    """Its events have no numbers and no places, its answers say nothing of what was asked, and nothing of having been cut."""

    says_incomplete: bool = False

    def whole(self, turn: Turn, asked: Asked) -> bytes:
        """The body."""
        return msgspec.json.encode({"completed_at": CREATED, **_bare(msgspec.json.decode(super().whole(turn, asked)))})

    def events(self, turn: Turn, asked: Asked) -> list[bytes]:
        """Every event of the stream."""
        found: list[bytes] = []
        for event in super().events(turn, asked):
            payload = msgspec.json.decode(event.partition(b"data: ")[2])
            kind = payload["type"]
            if kind == "response.function_call_arguments.done":
                continue
            bare = {name: value for name, value in payload.items() if name not in _PLACES}
            if "response" in bare:
                begun = {name: payload["response"][name] for name in ("id", "object", "status")}
                bare["response"] = _bare(payload["response"]) if kind == "response.completed" else begun
                bare |= _TIMINGS if kind == "response.completed" else {}
            if kind == "response.content_part.added":
                bare["part"] = {"type": "output_text", "text": ""}
            found.append(named_sse(bare))
        return found


_PLACES = ("sequence_number", "output_index", "content_index", "logprobs", "name")
_BARE = ("id", "object", "created_at", "model", "output", "status")


def _bare(response: Json) -> Json:
    """What it says of a response: no echo of the request."""
    usage = {name: value for name, value in response["usage"].items() if name != "output_tokens_details"}
    return {**{name: response[name] for name in _BARE}, "usage": usage}


def _health(state: "EngineState", _: str) -> bytes:
    if state.health_status == 200:
        return page({"status": "ok"})
    return json_response(state.health_status, _error(Operation.CHAT, _LOADING))


def _slots(state: "EngineState", _: str) -> bytes:
    busy = state.running
    return page([{"id": at, "n_ctx": CONTEXT_LENGTH, "is_processing": at < busy} for at in range(4)])


def build(model: str) -> Dialect:
    """The dialect for one served model name."""
    chat = ChatShape(
        model=model,
        id="chatcmpl-k4Zt0qW1uVxY2aB3cD4eF5gH6iJ7kL8m",
        role={"role": "assistant", "content": None},
        streamed=_BUILD,
        last=_TIMINGS,
        finish_apart=True,
        usage_extra=_USAGE,
        usage_tail={**_BUILD, **_TIMINGS},
        reasoning_always=False,
        logprobs_always=False,
        logprob_ids=True,
        content_of_calls="",
        whole_extra={**_BUILD, **_TIMINGS},
    )
    completions = CompletionShape(
        model=model,
        chat_logprobs=True,
        id="chatcmpl-k4Zt0qW1uVxY2aB3cD4eF5gH6iJ7kL8m",
        streamed=_BUILD,
        last=_TIMINGS,
        finish_apart=True,
        usage_extra=_USAGE,
        usage_tail={**_BUILD, **_TIMINGS},
        whole_extra={**_BUILD, **_TIMINGS},
    )
    return Dialect(
        name="llama_cpp",
        shapes={
            Operation.CHAT: chat,
            Operation.COMPLETIONS: completions,
            Operation.MESSAGES: MessagesShape(
                model=model,
                id="chatcmpl-k4Zt0qW1uVxY2aB3cD4eF5gH6iJ7kL8m",
                usage={"cache_read_input_tokens": 0},
                start_usage={"cache_read_input_tokens": 0},
                plain_stop_sequence=True,
                names_stops=False,
                empty_input=False,
            ),
            Operation.RESPONSES: LlamaResponses(model=model),
        },
        counts={
            Operation.COUNT_TOKENS: lambda count: {"input_tokens": count},
            Operation.TOKENIZE: lambda count: {"tokens": list(range(count))},
        },
        error=_error,
        stream_error=_error,
        done_after_error=False,
        judge=Judge(
            too_long=Refusal(
                400, "the request exceeds the available context size, try increasing it", "exceed_context_size_error"
            ),
            checks_model=frozenset(),
            max_top_logprobs=None,
            needs_logprobs=True,
            needs_stream=False,
            tokenizes_text_only=True,
        ),
        queue_full=_LOADING,
        no_route={"error": {"message": "File Not Found", "type": "not_found_error", "code": 404}},
        constrains=False,
        aborts_with="error",
        sides={
            "/health": _health,
            "/v1/health": _health,
            "/slots": _slots,
            "/props": lambda _, __: page(
                {"total_slots": 4, "build_info": "b11434-5f1c2d3e", "model_path": "/srv/k2.gguf"}
            ),
            "/v1/models": lambda _, name: model_list(
                name, created=CREATED, owned_by="llamacpp", meta={"n_ctx_train": 32_768, "n_params": 7_683_000}
            ),
            "/metrics": metrics("llamacpp:", "", {"requests_processing": "running", "requests_deferred": ""}),
        },
    )
