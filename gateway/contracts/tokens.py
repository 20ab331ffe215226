"""How tokens are counted before an engine has told: an estimate that learns, and the model's own tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from gateway.contracts.call import Call


class TokenCounter(Protocol):
    """Counts what a call will take and what an unfinished answer has taken. Engines' own figures replace both."""

    def estimate(self, call: Call) -> int:
        """Tokens of the prompt, from its length and what this model's prompts have come to so far. About a microsecond."""

    async def exact(self, call: Call) -> int | None:
        """Tokens of the prompt by the model's own tokenizer and chat template.

        None if the model has no `tokenizer`, or if the prompt holds what the template cannot render (images).
        Takes time by the prompt's length; a long one is counted in a thread.
        """

    def typical_output(self, call: Call) -> int:
        """Tokens of the answer to expect where the call sets no limit, all choices together."""

    def produced(self, call: Call, backend: str, events: int) -> int:
        """Tokens in `events` relayed events of an answer whose engine never told, from what this backend's came to so far."""


class PromptTokens(TokenCounter, Protocol):
    """A counter that also says which tokens a prompt is."""

    async def ids(self, call: Call, most_bytes: int) -> Sequence[int] | None:
        """The prompt's tokens, as an engine that uses the model's own tokenizer and chat template reads them.

        None where `exact` would be, for a prompt that is longer than so many bytes or no single text, and while as many
        long ones are being read as may be at once. Takes its time as `exact` does.
        """
