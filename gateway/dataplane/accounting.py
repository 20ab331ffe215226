"""Says what a call used and cost, however it ended: the engine's own figures where it told them, else what was really produced."""

from __future__ import annotations

from typing import Protocol

from gateway.contracts.call import Call, Ending, Operation, Outcome, Usage
from gateway.contracts.tokens import TokenCounter
from gateway.dataplane.attempting import CLIENT_LEFT

# They use no tokens: what their answers count is not what was generated.
_FREE = frozenset({Operation.TOKENIZE, Operation.COUNT_TOKENS})


class LearningCounter(TokenCounter, Protocol):
    """A counter that gets better by what engines tell."""

    def produced_unseen(self, call: Call, seconds: float) -> int:
        """Tokens that an engine made in so many seconds of an answer that comes in one piece, and did not come."""

    def learn(self, call: Call, outcome: Outcome) -> None:
        """Take the engine's own figures of a complete answer."""


class Accounting:
    """Completes outcomes."""

    def __init__(self, tokens: LearningCounter) -> None:
        self._tokens = tokens

    def complete(self, call: Call, outcome: Outcome) -> None:
        """Fill in usage, whether it is estimated, and cost."""
        if not _worked(outcome) or call.operation in _FREE:
            outcome.usage = None
            outcome.cost_nanos = 0 if call.model.prices is not None else None
            return
        usage = outcome.usage if outcome.usage is not None else Usage()
        if usage.prompt_tokens is None:
            usage.prompt_tokens = self._tokens.estimate(call)
            outcome.usage_estimated = True
        # An engine's last word on its answer comes with the end of it; what it said before that is out of date.
        ended = outcome.ending is Ending.COMPLETED or outcome.finish_reason is not None
        if usage.completion_tokens is None or not ended:
            produced = self._produced(call, outcome)
            usage.completion_tokens = max(usage.completion_tokens or 0, produced)
            outcome.usage_estimated = True
        outcome.usage = usage
        if call.model.prices is not None:
            outcome.cost_nanos = call.model.prices.cost_nanos(usage)
        if outcome.ending is Ending.COMPLETED and not outcome.usage_estimated:
            self._tokens.learn(call, outcome)

    def _produced(self, call: Call, outcome: Outcome) -> int:
        if call.stream:
            return self._tokens.produced(call, outcome.attempts[-1].backend, outcome.streamed_events)
        # Nothing was seen of an answer that was to come whole; the engine was at it all the same.
        return self._tokens.produced_unseen(call, outcome.total_seconds - (outcome.placed_seconds or 0.0))


def _worked(outcome: Outcome) -> bool:
    """Whether an engine did something that its owner pays for: it answered, or was at it when the client left."""
    return bool(outcome.attempts) and outcome.attempts[-1].error_code in (None, CLIENT_LEFT)
