"""Decides what an engine's error means for a call: try elsewhere, tell the client, or keep it to the log."""

from __future__ import annotations

from backends.openai_errors import ErrorObject, clean, clean_param
from gateway.errors import ContextTooLong, UpstreamBroken, UpstreamError, UpstreamOverloaded, UpstreamRefused

RETRY_AFTER_SECONDS = 1.0

# 400 is not here: an engine that finds a request wrong finds it wrong everywhere. 529 is Anthropic's word for 503.
OVERLOADED = frozenset({429, 502, 503, 504, 529})
# These of an engine mean that our own configuration is wrong, which is not the client's to see.
_OURS = frozenset({401, 403, 404, 407})

_TOO_LONG_NAMES = frozenset({"context_length_exceeded", "exceed_context_size_error"})
# In the words of vLLM, SGLang, TensorRT-LLM and llama.cpp.
_TOO_LONG_WORDS = (
    "context length", "context size", "max_model_len", "max_seq_len", "max_num_tokens", "supports at most"
)  # fmt: skip


def judge(status: int, found: ErrorObject) -> UpstreamError:
    """Tell an overload, which another replica may not have, from a refusal, which most would repeat."""
    if status in OVERLOADED:
        return overloaded(status, found)
    if 400 <= status < 500 and status not in _OURS:  # noqa: PLR2004 - the range of 4xx
        message = clean(found.message) or f"The engine refused the request with status {status}."
        param = clean_param(found.param)
        if is_too_long(found):
            return ContextTooLong(message, param=param)
        # Its own type is left out: each engine has other words for what OpenAI calls invalid_request_error.
        return UpstreamRefused(message, engine_status=status, param=param)
    return UpstreamBroken(_for_the_log(status, found))


def overloaded(status: int, found: ErrorObject) -> UpstreamOverloaded:
    """It cannot now; no engine says when it can again, so we do."""
    return UpstreamOverloaded(_for_the_log(status, found), retry_after_seconds=RETRY_AFTER_SECONDS)


def is_too_long(found: ErrorObject) -> bool:
    """Whether prompt and answer do not fit into the engine's context."""
    if found.code in _TOO_LONG_NAMES or found.type in _TOO_LONG_NAMES:
        return True
    return any(words in found.message for words in _TOO_LONG_WORDS)


def _for_the_log(status: int, found: ErrorObject) -> str:
    return f"status {status}: {found.message[:200]}"
