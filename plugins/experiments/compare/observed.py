"""What a run found, in memory: figures and digests of each answer, and where its text stands; pairs of answers to one call."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from plugins.experiments.compare.arms import ARMS, ArmName, Ask
from plugins.experiments.compare.results import Answer, Checks, Result, read_results, tool_calls_as_data
from plugins.experiments.statistics.latency_histogram import LatencyHistogram


class Seen(Struct, frozen=True, kw_only=True):
    """One answer.

    Attributes:
        start: of its line in `results.jsonl`.
        said: digest of text and tool calls; the same for answers that say the same.
        token_seconds: time per output token after the first; None with fewer than two tokens.
        worst_gap_seconds: the longest wait between two pieces.
        transforms: what the gateway edited on the way, as its header lists it.
    """

    ask: Ask
    call: str
    conversation: str
    reference: str | None
    greedy: bool
    declares_tools: bool
    start: int
    started_at: float
    under_way: int
    error: str
    finish: str | None
    said: bytes
    ttft_seconds: float | None
    token_seconds: float | None
    worst_gap_seconds: float | None
    total_seconds: float
    prompt_tokens: int | None
    completion_tokens: int | None
    replica: str
    transforms: str
    tries: int
    checks: Checks

    @property
    def triggered(self) -> bool:
        """Whether it ended with tool calls; a failed call did not."""
        return not self.error and self.finish == "tool_calls"


class Pair(Struct, frozen=True):
    """Two answers to one call."""

    a: Seen
    b: Seen

    @property
    def conversation(self) -> Hashable:
        """What both are of."""
        return self.a.conversation

    @property
    def whole(self) -> bool:
        """Whether neither failed."""
        return not self.a.error and not self.b.error


class Observed(Struct, kw_only=True):
    """All of a run.

    Attributes:
        seen: by what was asked.
        gaps: between pieces, by arm.
    """

    seen: dict[Ask, Seen]
    gaps: dict[ArmName, LatencyHistogram]

    def of(self, arm: ArmName, copy: int | None = None) -> list[Seen]:
        """An arm's answers, in the order in which they came; of one copy, or of all."""
        return [each for ask, each in self.seen.items() if ask.arm == arm and (copy is None or ask.copy == copy)]

    def pairs(self, copy: int | None = None) -> list[Pair]:
        """A's and B's answers to the same call; of one copy, or of all."""
        return list(self._pairs(copy))

    def _pairs(self, copy: int | None) -> Iterator[Pair]:
        for ask, first in self.seen.items():
            if ask.arm == "a" and (copy is None or ask.copy == copy):
                second = self.seen.get(ask._replace(arm="b"))
                if second is not None:
                    yield Pair(first, second)

    def null_pairs(self) -> list[Pair]:
        """A's two answers to the same call: the null arm; empty where it was not asked for."""
        found = []
        for ask, first in self.seen.items():
            if ask.arm == "a" and ask.copy == 0:
                second = self.seen.get(ask._replace(copy=1))
                if second is not None:
                    found.append(Pair(first, second))
        return found


def observe(folder: Path) -> Observed:
    """Read a run's results."""
    observed = Observed(seen={}, gaps={arm: LatencyHistogram() for arm in ARMS})
    for start, result in read_results(folder):
        observed.seen[result.ask] = _seen(start, result)
        histogram = observed.gaps[result.arm]
        for gap in result.answer.gaps_seconds:
            histogram.add(gap)
    return observed


def _seen(start: int, result: Result) -> Seen:
    answer = result.answer
    return Seen(
        ask=result.ask,
        call=result.call,
        conversation=result.conversation,
        reference=result.reference,
        greedy=result.greedy,
        declares_tools=result.declares_tools,
        start=start,
        started_at=result.started_at,
        under_way=result.under_way,
        error=answer.error,
        finish=answer.finish_reason,
        said=said(answer),
        ttft_seconds=answer.ttft_seconds,
        token_seconds=_token_seconds(answer),
        worst_gap_seconds=max(answer.gaps_seconds, default=0.0) if answer.ttft_seconds is not None else None,
        total_seconds=answer.total_seconds,
        prompt_tokens=answer.prompt_tokens,
        completion_tokens=answer.completion_tokens,
        replica=answer.replica,
        transforms=answer.transforms,
        tries=answer.tries,
        checks=result.checks,
    )


def said(answer: Answer) -> bytes:
    """A digest of what an answer says: its text and tool calls, whatever their ids and the spaces in their arguments."""
    content = msgspec.json.encode([answer.text, tool_calls_as_data(answer.tool_calls)], order="deterministic")
    return hashlib.blake2b(content, digest_size=16).digest()


def _token_seconds(answer: Answer) -> float | None:
    # Engines that do not count: a piece is taken for a token. What came all at once took no time.
    tokens = answer.completion_tokens or len(answer.gaps_seconds) + 1
    return sum(answer.gaps_seconds) / (tokens - 1) if tokens > 1 and answer.ttft_seconds is not None else None


def conversations(pairs: Sequence[Pair]) -> list[Hashable]:
    """Of each pair, its conversation."""
    return [each.conversation for each in pairs]
