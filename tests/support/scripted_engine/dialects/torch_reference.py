"""Our reference engine."""

from tests.support.scripted_engine.asked import Json, Operation
from tests.support.scripted_engine.dialects.chat import ChatShape
from tests.support.scripted_engine.dialects.completions import CompletionShape
from tests.support.scripted_engine.dialects.dialect import Dialect
from tests.support.scripted_engine.dialects.judging import CONTEXT_LENGTH, Judge, Refusal
from tests.support.scripted_engine.dialects.sides import metrics, model_list, page
from tests.support.scripted_engine.wire import CREATED

_FINGERPRINT = {"system_fingerprint": "torch_reference-1-float32"}
_USAGE = {"prompt_tokens_details": {"cached_tokens": 0}}
_WORDS = {
    400: ("invalid_request_error", "invalid_value"),
    404: ("invalid_request_error", "model_not_found"),
    503: ("overloaded_error", "queue_full"),
}
_NO_CONSTRAINTS = "is not supported by this engine: it has no constrained decoding"
_REFUSED = ("response_format", "guided_json", "guided_regex", "guided_choice", "guided_grammar", "regex", "ebnf")


def _error(_: Operation, refusal: Refusal) -> Json:
    kind, code = _WORDS.get(refusal.status, ("server_error", "internal_error"))
    return {"error": {"message": refusal.message, "type": kind, "param": refusal.param, "code": code}}


def build(model: str) -> Dialect:
    """The dialect for one served model name."""
    chat = ChatShape(
        model=model,
        id="chatcmpl-8d2f6c1e4b7a49f0",
        streamed=_FINGERPRINT,
        null_usage=True,
        finish_apart=True,
        reasoning_always=False,
        usage_extra=_USAGE,
        usage_tail=_FINGERPRINT,
        whole_extra=_FINGERPRINT,
    )
    completions = CompletionShape(
        model=model,
        id="cmpl-8d2f6c1e4b7a49f0",
        streamed=_FINGERPRINT,
        null_usage=True,
        finish_apart=True,
        usage_extra=_USAGE,
        usage_tail=_FINGERPRINT,
        whole_extra=_FINGERPRINT,
    )
    return Dialect(
        name="torch_reference",
        shapes={Operation.CHAT: chat, Operation.COMPLETIONS: completions},
        counts={
            Operation.TOKENIZE: lambda count: {
                "count": count,
                "max_model_len": CONTEXT_LENGTH,
                "tokens": list(range(count)),
            }
        },
        error=_error,
        stream_error=_error,
        done_after_error=False,
        judge=Judge(
            too_long=Refusal(
                400, f"This model's maximum context length is {CONTEXT_LENGTH} tokens.", param="max_tokens"
            ),
            refused_fields={name: f"{name} {_NO_CONSTRAINTS}" for name in _REFUSED},
        ),
        queue_full=Refusal(503, "too many requests wait already", "overloaded_error"),
        drain=Refusal(503, "the engine is shutting down", "overloaded_error"),
        aborts_with="error",
        retry_after=True,
        sides={
            "/health": lambda state, _: page({"status": "ok"}),
            "/version": lambda _, __: page({"version": "1"}),
            "/v1/models": lambda _, name: model_list(
                name, created=CREATED, owned_by="moegate", max_model_len=CONTEXT_LENGTH, context_length=CONTEXT_LENGTH
            ),
            "/metrics": metrics(
                "moegate_reference_engine_", "", {"requests_running": "running", "requests_waiting": "", "slots": ""}
            ),
        },
    )
