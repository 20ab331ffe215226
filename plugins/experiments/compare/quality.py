"""Estimates of the quality endpoints: each a yes or no of every answer, B against A on the same calls; judges nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from plugins.experiments.compare.f1 import compare_f1
from plugins.experiments.compare.observed import Observed, Pair, Seen, conversations
from plugins.experiments.statistics.checking import NotEnough
from plugins.experiments.statistics.estimate import Estimate
from plugins.experiments.statistics.independent import rate, rate_difference
from plugins.experiments.statistics.paired import paired_difference, paired_table

Found = tuple[Estimate | NotEnough, Estimate | NotEnough | None]
"""The effect, and the null arm's; None where there is none."""

Question = Callable[[Seen], bool | None]

# What `x-moegate-transforms` calls edits of an answer that a client could not have used as it was.
_MENDING = ("tool_leak", "tool_repair", "finish_reason")


def succeeded(each: Seen) -> bool:
    """Whether there was a whole answer."""
    return not each.error


def says_something(each: Seen) -> bool | None:
    """Whether a whole answer holds text or a tool call."""
    return None if each.error else not each.checks.empty


def is_clean(each: Seen) -> bool | None:
    """Whether no marker of the template stands in the text."""
    return None if each.error else not each.checks.marker


def is_unmended(each: Seen) -> bool | None:
    """Whether the gateway had nothing to mend in it, as far as its headers could tell when it began."""
    return None if each.error else not any(name in each.transforms for name in _MENDING)


def is_json(each: Seen) -> bool | None:
    """Whether it is JSON, where that was asked for."""
    return each.checks.json_valid


def is_valid(each: Seen) -> bool | None:
    """Whether all its tool calls are valid, where it ends with some."""
    return each.checks.schema_valid


def calls_a_tool(each: Seen) -> bool | None:
    """Whether it ends with tool calls, where tools were declared."""
    return each.triggered if each.declares_tools and not each.error else None


QUESTIONS: dict[str, Question] = {
    "success_rate": succeeded,
    "nonempty_rate": says_something,
    "clean_rate": is_clean,
    "unmended_rate": is_unmended,
    "json_rate": is_json,
    "tool_call_rate": calls_a_tool,
}


def estimate_question(observed: Observed, question: Question, confidence: float) -> Found:
    """A yes or no of each answer, paired by call."""
    null = observed.null_pairs()
    return _paired(observed.pairs(), question, confidence), _paired(null, question, confidence) if null else None


def _paired(pairs: Sequence[Pair], question: Question, confidence: float) -> Estimate | NotEnough:
    told = [(pair, question(pair.a), question(pair.b)) for pair in pairs]
    both = [(pair, float(a), float(b)) for pair, a, b in told if a is not None and b is not None]
    return _table([each[1] for each in both], [each[2] for each in both], [each[0] for each in both], confidence)


def _table(a: list[float], b: list[float], pairs: list[Pair], confidence: float) -> Estimate | NotEnough:
    try:
        return paired_difference(paired_table(a, b, conversations(pairs)), confidence)
    except NotEnough as reason:
        return reason


def estimate_schema(observed: Observed, confidence: float) -> Found:
    """Schema accuracy as K2-Vendor-Verifier has it: of the answers that end with tool calls, how many are wholly valid.

    Each arm chooses when to call a tool, so the arms' answers are not pairs: two rates, clustered by conversation.
    """
    null = observed.of("a", 1)
    effect = _rates(observed.of("a"), observed.of("b"), confidence)
    return effect, _rates(observed.of("a", 0), null, confidence) if null else None


def _rates(a: Sequence[Seen], b: Sequence[Seen], confidence: float) -> Estimate | NotEnough:
    kept = [[each for each in arm if is_valid(each) is not None] for arm in (a, b)]
    if not all(kept):
        return NotEnough("an arm made no tool call")
    found = [rate([float(bool(is_valid(each))) for each in arm], [each.conversation for each in arm]) for arm in kept]
    return rate_difference(found[0], found[1], confidence)


def estimate_f1(observed: Observed, confidence: float) -> Found:
    """See `compare_f1`."""
    try:
        return compare_f1(observed, confidence)
    except NotEnough as reason:
        return reason, None


def same_words(pair: Pair) -> bool:
    """Whether both say the same."""
    return pair.a.said == pair.b.said


def same_finish(pair: Pair) -> bool:
    """Whether both end for the same reason."""
    return pair.a.finish == pair.b.finish


def estimate_agreement(
    observed: Observed, same: Callable[[Pair], bool], confidence: float, *, greedy_only: bool
) -> Found:
    """How often B agrees with A, less how often A agrees with itself; wholly, where it was not asked twice.

    Without a null arm only greedy calls can tell: sampled answers differ by themselves.
    """
    again = {(each.a.ask.call, each.a.ask.repeat): each for each in observed.null_pairs()}
    asked_twice = bool(again)
    a, b, kept = [], [], []
    for pair in observed.pairs(0):
        if not pair.whole or (not pair.a.greedy and (greedy_only or not asked_twice)):
            continue
        own = again.get((pair.a.ask.call, pair.a.ask.repeat))
        if asked_twice and (own is None or not own.whole):
            continue
        a.append(1.0 if own is None else float(same(own)))
        b.append(float(same(pair)))
        kept.append(pair)
    if not kept:
        return NotEnough("no greedy calls" if greedy_only else "sampled answers want --null"), None
    return _table(a, b, kept, confidence), None
