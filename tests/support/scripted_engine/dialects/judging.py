"""What an engine does not accept in a request, as data."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.support.scripted_engine.asked import Asked, Operation

CONTEXT_LENGTH = 8_192
GENERATING = frozenset({Operation.CHAT, Operation.COMPLETIONS, Operation.MESSAGES, Operation.RESPONSES})


@dataclass(frozen=True)
class Refusal:
    """Why a request is refused, before a dialect writes it down."""

    status: int
    message: str
    kind: str = "BadRequestError"
    param: str | None = None


@dataclass(frozen=True, kw_only=True)
class Judge:
    """One engine's.

    Attributes:
        too_long: what it says of a prompt that does not fit.
        known_fields: any other field of chat and completions is refused; None where anything goes.
        refused_fields: fields that are refused by name, with the reason.
        checks_model: operations in which an unknown model is refused.
        max_top_logprobs: more is refused; None where there is no such limit.
        vocabulary: tokens that `logit_bias` may name; None where any number goes.
        needs_logprobs: `top_logprobs` without `logprobs` is refused.
        needs_stream: `stream_options` without `stream` is refused.
        tokenizes_text_only: a conversation is not tokenized.
    """

    too_long: Refusal
    known_fields: frozenset[str] | None = None
    refused_fields: Mapping[str, str] = field(default_factory=dict)
    checks_model: frozenset[Operation] = frozenset(Operation)
    max_top_logprobs: int | None = 20
    vocabulary: int | None = None
    needs_logprobs: bool = False
    needs_stream: bool = True
    tokenizes_text_only: bool = False

    def refusal(self, asked: Asked, model: str) -> Refusal | None:
        """Say what is wrong with a request; None if nothing is."""
        return self.of_model(asked, model) or self._of_fields(asked) or self._of_values(asked)

    def of_model(self, asked: Asked, model: str) -> Refusal | None:
        """The model is another than the one that is served."""
        if asked.model == model or asked.operation not in self.checks_model:
            return None
        return Refusal(404, f"The model `{asked.model}` does not exist.", "NotFoundError", "model")

    def _of_fields(self, asked: Asked) -> Refusal | None:
        body = asked.body
        if self.known_fields is not None and asked.operation in (Operation.CHAT, Operation.COMPLETIONS):
            for name in sorted(set(body) - self.known_fields):
                return Refusal(400, f"[{{'type': 'extra_forbidden', 'loc': ('body', '{name}')}}]")
        for name, reason in self.refused_fields.items():
            if body.get(name) not in (None, {}, []):
                return Refusal(400, reason, param=name)
        if self.needs_logprobs and body.get("top_logprobs") and not body.get("logprobs"):
            return Refusal(400, "top_logprobs requires logprobs to be set to true", param="top_logprobs")
        if self.tokenizes_text_only and asked.operation is Operation.TOKENIZE and "messages" in body:
            return Refusal(400, "Field required: prompt", param="prompt")
        if self.needs_stream and not asked.stream and body.get("stream_options"):
            return Refusal(400, "Stream options can only be defined when `stream=True`.", param="stream_options")
        return None

    def _of_values(self, asked: Asked) -> Refusal | None:
        top = self.max_top_logprobs
        if asked.top_logprobs is not None and top is not None and asked.top_logprobs > top:
            return Refusal(
                400, f"Requested sample logprobs of {asked.top_logprobs}, which is over {top}.", param="logprobs"
            )
        biased = asked.body.get("logit_bias") or {}
        if self.vocabulary is not None and any(int(token) >= self.vocabulary for token in biased):
            return Refusal(400, f"logit_bias must has keys in [0, {self.vocabulary - 1}].")
        if asked.forced and not asked.tools:
            return Refusal(400, "The tool specified in `tool_choice` is not one of `tools`.", param="tool_choice")
        return self.too_long if asked.words + (asked.limit or 0) > CONTEXT_LENGTH else None
