"""vLLM, as recorded from 0.32.0 on a CPU."""

from tests.support.scripted_engine.asked import Json, Operation
from tests.support.scripted_engine.dialects.chat import ChatShape
from tests.support.scripted_engine.dialects.completions import CompletionShape
from tests.support.scripted_engine.dialects.dialect import Dialect, anthropic, nested
from tests.support.scripted_engine.dialects.judging import CONTEXT_LENGTH, Judge, Refusal
from tests.support.scripted_engine.dialects.messages import MessagesShape
from tests.support.scripted_engine.dialects.responses import ResponsesShape
from tests.support.scripted_engine.dialects.sides import health, metrics, model_list, page
from tests.support.scripted_engine.wire import CREATED

_FINGERPRINT = {"system_fingerprint": "vllm-0.32.0-9e550488"}
_NOWHERE = {"kv_transfer_params": None, "ec_transfer_params": None, "metrics": None}
_CACHED = {"cached_tokens": 0, "created_cache_tokens": 0}
_WHOLE_USAGE = {"prompt_tokens_details": {**_CACHED, "multimodal_tokens": None}, "completion_tokens_details": None}
_HEAD = {"service_tier": None, **_FINGERPRINT}
_PERMISSION = {
    "id": "modelperm-8d2f6c1e4b7a49f0",
    "object": "model_permission",
    "created": CREATED,
    "allow_create_engine": False,
    "allow_sampling": True,
    "allow_logprobs": True,
    "allow_search_indices": False,
    "allow_view": True,
    "allow_fine_tuning": False,
    "organization": "*",
    "group": None,
    "is_blocking": False,
}
_CARD = {
    "created": CREATED,
    "owned_by": "vllm",
    "root": "/srv/models/k2",
    "parent": None,
    "max_model_len": CONTEXT_LENGTH,
    "permission": [_PERMISSION],
}
_TOO_LONG = f"This model's maximum context length is {CONTEXT_LENGTH} tokens."
_ELSEWHERE = "Please try again later or on a different instance."
_ANTHROPIC_USAGE = {"cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}


def _error(operation: Operation, refusal: Refusal) -> Json:
    """Validation has OpenAI's form everywhere; what comes later has Anthropic's on its routes."""
    if operation in (Operation.MESSAGES, Operation.COUNT_TOKENS) and refusal.status != 400:
        return anthropic(refusal)
    return nested(operation, refusal)


def _stream_error(operation: Operation, refusal: Refusal) -> Json:
    return anthropic(refusal, "internal_error") if operation is Operation.MESSAGES else nested(operation, refusal)


def build(model: str) -> Dialect:
    """The dialect for one served model name."""
    chat = ChatShape(
        model=model,
        id="chatcmpl-8d2f6c1e4b7a49f0",
        role_extra={"prompt_token_ids": None, "prompt_text": None},
        streamed_choice={"token_ids": None},
        stop_key="stop_reason",
        last=_FINGERPRINT,
        usage_tail=_FINGERPRINT,
        usage_extra=_WHOLE_USAGE,
        streamed_usage_extra={"prompt_tokens_details": _CACHED},
        message=dict.fromkeys(("refusal", "annotations", "audio", "function_call")),
        reasoning_key="reasoning",
        content_of_calls="",
        choice={"token_ids": None, "routed_experts": None},
        whole_extra={"prompt_logprobs": None, "prompt_token_ids": None, "prompt_text": None, **_HEAD, **_NOWHERE},
    )
    completions = CompletionShape(
        model=model,
        id="cmpl-8d2f6c1e4b7a49f0",
        stop_key="stop_reason",
        streamed_choice={"stop_reason": None, "prompt_token_ids": None, "token_ids": None},
        last=_FINGERPRINT,
        usage_tail=_FINGERPRINT,
        usage_extra=_WHOLE_USAGE,
        streamed_usage_extra={"prompt_tokens_details": {"cached_tokens": 0}},
        choice=dict.fromkeys(("token_ids", "prompt_logprobs", "prompt_token_ids", "routed_experts")),
        whole_extra={**_HEAD, **_NOWHERE},
    )
    messages = MessagesShape(model=model, id="chatcmpl-8d2f6c1e4b7a49f0", usage=_ANTHROPIC_USAGE)
    return Dialect(
        name="vllm",
        shapes={
            Operation.CHAT: chat,
            Operation.COMPLETIONS: completions,
            Operation.MESSAGES: messages,
            Operation.RESPONSES: ResponsesShape(model=model, extra={"service_tier": "auto", "background": False}),
        },
        counts={
            Operation.COUNT_TOKENS: lambda count: {
                "input_tokens": count,
                "context_management": {"original_input_tokens": count},
            },
            Operation.TOKENIZE: lambda count: {
                "count": count,
                "max_model_len": CONTEXT_LENGTH,
                "tokens": list(range(count)),
                "token_strs": None,
            },
        },
        error=_error,
        stream_error=_stream_error,
        judge=Judge(too_long=Refusal(400, _TOO_LONG, param="input_tokens")),
        queue_full=Refusal(503, f"The engine is currently busy. {_ELSEWHERE}", "Service Unavailable"),
        drain=Refusal(500, "cannot schedule new futures after shutdown", "InternalServerError"),
        sides={
            "/health": health,
            "/ping": health,
            "/version": lambda _, __: page({"version": "0.32.0"}),
            "/load": lambda state, _: page({"server_load": state.running}),
            "/v1/models": lambda _, name: model_list(name, **_CARD),
            "/metrics": metrics(
                "vllm:",
                '{{engine="0",model_name="{model}"}}',
                {"num_requests_running": "running", "num_requests_waiting": "", "kv_cache_usage_perc": ""},
            ),
        },
    )
