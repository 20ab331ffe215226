"""Judges the values of a request and turns them into what the worker needs; it must not know about prompts or HTTP."""

from typing import Any

from backends.torch_reference.engine.errors import InvalidRequest
from backends.torch_reference.engine.protocol import GenerationFields
from backends.torch_reference.engine.sequence import SamplingParams

MAX_CHOICES = 8
MAX_STOPS = 4
MAX_LOGPROBS = 20
MAX_TEMPERATURE = 2.0

# Each of these with a value that has an effect would silently change the answer's meaning if it were ignored.
_UNSUPPORTED_CONSTRAINTS = (
    "structured_outputs",
    "guided_json",
    "guided_regex",
    "guided_choice",
    "guided_grammar",
    "regex",
    "ebnf",
)
_NEUTRAL_VALUES: dict[str, Any] = {
    "presence_penalty": 0,
    "frequency_penalty": 0,
    "repetition_penalty": 1,
    "min_p": 0,
    "logit_bias": {},
}


def refuse_unsupported(request: GenerationFields) -> None:
    """Refuse what this engine cannot do."""
    if request.response_format is not None and request.response_format.type != "text":
        raise InvalidRequest(
            f"response_format {request.response_format.type[:40]!r} is not supported by this engine: "
            "it has no constrained decoding",
            param="response_format",
            code="unsupported_parameter",
        )
    for name in _UNSUPPORTED_CONSTRAINTS:
        if getattr(request, name) is not None:
            raise InvalidRequest(
                f"{name} is not supported by this engine: it has no constrained decoding",
                param=name,
                code="unsupported_parameter",
            )
    for name, neutral in _NEUTRAL_VALUES.items():
        value = getattr(request, name)
        if value is not None and value != neutral:
            raise InvalidRequest(
                f"{name} is not supported by this engine, except as {neutral}", param=name, code="unsupported_parameter"
            )
    if request.best_of is not None and request.best_of != (request.n or 1):
        raise InvalidRequest(
            "best_of is not supported by this engine, except as n", param="best_of", code="unsupported_parameter"
        )


def sampling_params(request: GenerationFields, defaults: SamplingParams) -> SamplingParams:
    """Return how tokens are chosen; what the request leaves out is the checkpoint's recommendation."""
    temperature = defaults.temperature if request.temperature is None else request.temperature
    top_p = defaults.top_p if request.top_p is None else request.top_p
    top_k = defaults.top_k if request.top_k is None else request.top_k
    _check("temperature", temperature, 0 <= temperature <= MAX_TEMPERATURE, f"between 0 and {MAX_TEMPERATURE:g}")
    _check("top_p", top_p, 0 < top_p <= 1, "above 0 and at most 1")
    _check("top_k", top_k, top_k >= -1, "-1, 0 (off) or more")
    return SamplingParams(temperature=temperature, top_p=top_p, top_k=max(top_k, 0), seed=request.seed)


def choice_count(request: GenerationFields) -> int:
    """Return how many answers are wanted."""
    count = 1 if request.n is None else request.n
    _check("n", count, 1 <= count <= MAX_CHOICES, f"between 1 and {MAX_CHOICES}")
    return count


def stop_strings(request: GenerationFields) -> tuple[str, ...]:
    """Return the stop strings."""
    stops = [request.stop] if isinstance(request.stop, str) else request.stop or []
    _check("stop", len(stops), len(stops) <= MAX_STOPS, f"at most {MAX_STOPS} strings")
    if not all(stops):
        raise InvalidRequest("stop strings must not be empty", param="stop")
    return tuple(stops)


def logprob_count(name: str, value: int) -> int:
    """Return how many alternatives to score."""
    _check(name, value, 0 <= value <= MAX_LOGPROBS, f"between 0 and {MAX_LOGPROBS}")
    return value


def check_stream_options(request: GenerationFields) -> None:
    """Refuse stream options without a stream."""
    if request.stream_options is not None and not request.stream:
        raise InvalidRequest("stream_options is only allowed when stream is true", param="stream_options")


def token_budget(
    wanted: int | None, prompt_tokens: int, context_length: int, *, default: int | None, param: str, smallest: int = 1
) -> int:
    """Return how many tokens may be generated, or refuse what does not fit the context."""
    if wanted is not None:
        _check(param, wanted, wanted >= smallest, f"{smallest} or more")
    if prompt_tokens == 0:
        raise InvalidRequest("the prompt is empty", param="prompt")
    room = context_length - prompt_tokens
    asked = wanted if wanted is not None else min(default, room) if default is not None else room
    if asked > room or room < smallest:
        raise InvalidRequest(
            f"This model's maximum context length is {context_length} tokens. However, you requested "
            f"{prompt_tokens} tokens in the prompt and {max(asked, 0)} in the completion. Please shorten either.",
            param=param,
            code="context_length_exceeded",
        )
    return asked


def _check(name: str, value: object, accepted: bool, wanted: str) -> None:
    if not accepted:
        raise InvalidRequest(f"{name} must be {wanted}, not {value}", param=name)
