"""What a call takes of each dimension: before it runs by what it asks for, after it by what it used; integers throughout."""

from __future__ import annotations

import msgspec
from msgspec import Raw

from gateway import Call, Dimension, Operation, Outcome, Usage
from gateway.contracts.tokens import TokenCounter

# Stands where weighted tokens do, which each limit weighs itself: more than any budget, so that it is looked at there.
UNWEIGHED = 1 << 100

INDEX = {
    Dimension.REQUESTS: 0,
    Dimension.INPUT_TOKENS: 1,
    Dimension.CACHED_INPUT_TOKENS: 2,
    Dimension.OUTPUT_TOKENS: 3,
    Dimension.TOTAL_TOKENS: 4,
    Dimension.COST: 5,
    Dimension.CONCURRENT_CALLS: 6,
    Dimension.CONCURRENT_STREAMS: 7,
    Dimension.WEIGHTED_TOKENS: 8,
}
TOKENS = frozenset({Dimension.INPUT_TOKENS, Dimension.OUTPUT_TOKENS, Dimension.TOTAL_TOKENS, Dimension.WEIGHTED_TOKENS})

# They generate nothing: counting is not charged as tokens.
_FREE = frozenset({Operation.TOKENIZE, Operation.COUNT_TOKENS})

# After these the engine never had the request, or would not take it.
_NOT_TAKEN = frozenset({"upstream_unreachable", "upstream_overloaded"})

_ITEMS = msgspec.json.Decoder(list[Raw])
_MOST_DIGITS = 6

Amounts = tuple[int, int, int, int, int, int, int, int, int]
"""By INDEX; of tokens as they are, of costs in nanos."""

ONE_REQUEST: Amounts = (1, 0, 0, 0, 0, 0, 0, 0, 0)
NOTHING: Amounts = (0, 0, 0, 0, 0, 0, 0, 0, 0)
ALONE: tuple[Amounts, Amounts] = ((1, 0, 0, 0, 0, 0, 1, 0, 0), (1, 0, 0, 0, 0, 0, 1, 1, 0))
"""What a call takes that counts no tokens, by whether it is a stream: the request itself."""
Weights = tuple[int, int, int]


class Size:
    """What one call asks for.

    Attributes:
        exact: the input was counted by the model's own tokenizer.
        guessed: the call says nothing of how long its answer may be, so that `output` is a typical one's.
        amounts: of each dimension.
    """

    __slots__ = ("amounts", "exact", "guessed", "input", "output")

    def __init__(self, call: Call, tokens: int, output: int, *, exact: bool) -> None:
        self.input = tokens
        self.output = output
        self.exact = exact
        self.guessed = call.max_tokens is None
        prices = call.model.prices
        # An answer that may yet come from a cache is no reason to count on it.
        cost = prices.cost_nanos(Usage(prompt_tokens=tokens, completion_tokens=output)) if prices is not None else 0
        # What will have been cached nobody knows before; one token stands for it, so that a budget that is used up refuses.
        self.amounts: Amounts = (
            1,
            tokens,
            min(tokens, 1),
            output,
            tokens + output,
            cost,
            1,
            int(call.stream),
            UNWEIGHED,
        )


def output_of(call: Call, counter: TokenCounter) -> int:
    """Tokens that the answer may have: as the call says, else as is typical of its key and model; all choices together."""
    if call.max_tokens is not None:
        return call.max_tokens * choices(call)
    typical = counter.typical_output(call)
    default = call.model.defaults.get("max_tokens")
    # What is sent to engines where the client says nothing.
    return typical if default is None else min(typical, _number(default) * choices(call))


def choices(call: Call) -> int:
    """How many answers the call asks for: completions take several prompts, and each has `n`."""
    wanted = max(_number(call.fields.get("n")), _number(call.fields.get("best_of")))
    if call.operation is Operation.COMPLETIONS:
        prompt = call.fields.get("prompt")
        if prompt is not None and memoryview(prompt)[:1].tobytes() == b"[":
            wanted *= max(_prompts(prompt), 1)
    return wanted


def _number(raw: Raw | None) -> int:
    if raw is None:
        return 1
    digits = bytes(raw)
    return max(int(digits), 1) if digits.isdigit() and len(digits) <= _MOST_DIGITS else 1


def _prompts(prompt: Raw) -> int:
    items = _ITEMS.decode(prompt)
    is_one = bool(items) and bytes(memoryview(items[0])[:1]).isdigit()  # token ids
    return 1 if is_one else len(items)


def is_free(call: Call) -> bool:
    """Whether it uses no tokens whatever comes of it."""
    return call.operation in _FREE


def used(call: Call, outcome: Outcome) -> Amounts:
    """What a call has used, by INDEX; calls and streams at once are given back whole."""
    usage = outcome.usage
    if usage is None:
        return ONE_REQUEST if _reached(outcome) else NOTHING
    prompt, output = usage.prompt_tokens or 0, usage.completion_tokens or 0
    cached = min(usage.cached_tokens or 0, prompt)
    cost = outcome.cost_nanos
    if cost is None:
        cost = call.model.prices.cost_nanos(usage) if call.model.prices is not None else 0
    return (1, prompt, cached, output, prompt + output, cost, 0, 0, UNWEIGHED)


def weighed(weights: Weights, prompt: int, cached: int, output: int) -> int:
    """Weighted tokens, in thousandths."""
    return weights[0] * (prompt - cached) + weights[1] * cached + weights[2] * output


def _reached(outcome: Outcome) -> bool:
    """Whether an engine got the request, if only to refuse it: a flood of bad requests is a flood."""
    return any(attempt.error_code not in _NOT_TAKEN for attempt in outcome.attempts)
