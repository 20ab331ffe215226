"""What an experiment has seen of answers to the same calls: pairs by endpoint, how alike greedy ones are, what became of copies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

import msgspec
from msgspec import Struct, field

from plugins.experiments.compare.likeness import PARTS, TokenSums, common_characters, part_of, text_of
from plugins.experiments.compare.observed import said
from plugins.experiments.compare.results import Answer
from plugins.experiments.live.reading import Reader, Reading
from plugins.experiments.live.sums import PairSums, Sums, added
from plugins.experiments.live.tallies import Units, count_word, merge_times, new_times, tell_rates, tell_times
from plugins.experiments.live.watching import Answers
from plugins.experiments.statistics.latency_histogram import LatencyHistogram

_SERVED = "served"


class Likeness(Struct, kw_only=True):
    """Of greedy pairs of whole answers.

    Attributes:
        pairs, alike: how many, and how many say just the same.
        by_part: how many part in each tenth of the shorter answer: shape (PARTS,).
        same_characters: that those which part have in common at their beginning, in all.
    """

    pairs: int = 0
    alike: int = 0
    by_part: list[int] = field(default_factory=lambda: [0] * PARTS)
    same_characters: int = 0
    tokens: TokenSums = field(default_factory=TokenSums)

    def tell(self, a: Answer, b: Answer) -> None:
        """One pair."""
        self.pairs += 1
        self.tokens.add(a, b)
        if said(a) == said(b):
            self.alike += 1
            return
        texts = text_of(a), text_of(b)
        same = common_characters(*texts)
        self.by_part[part_of(same, *texts)] += 1
        self.same_characters += same

    def plus(self, other: Likeness) -> Likeness:
        """Both together."""
        return Likeness(
            pairs=self.pairs + other.pairs,
            alike=self.alike + other.alike,
            by_part=[mine + theirs for mine, theirs in zip(self.by_part, other.by_part, strict=True)],
            same_characters=self.same_characters + other.same_characters,
            tokens=self.tokens.plus(other.tokens),
        )


class PairTally(Struct, kw_only=True):
    """An arm's answers beside the first arm's, or the first arm's beside its own.

    Attributes:
        pairs: both were answered, well or not; nobody broke them off.
        rates: by endpoint.
        prompts: pairs of which both engines counted the prompt's tokens; `prompts_differ`: otherwise, as their templates differ.
    """

    pairs: int = 0
    rates: dict[str, PairSums] = {}
    greedy: Likeness = field(default_factory=Likeness)
    prompts: int = 0
    prompts_differ: int = 0

    def plus(self, other: PairTally) -> PairTally:
        """Both together."""
        return PairTally(
            pairs=self.pairs + other.pairs,
            rates=added(self.rates, other.rates, PairSums),
            greedy=self.greedy.plus(other.greedy),
            prompts=self.prompts + other.prompts,
            prompts_differ=self.prompts_differ + other.prompts_differ,
        )


class ShadowTally(Struct, kw_only=True):
    """One experiment's.

    Attributes:
        calls: that copies were to be made of; `left`: their client did not wait for its own answer, so they tell nothing.
        copies: of each arm, by what became of them.
        times, rates: of each arm's copies that were answered, well or not.
        pairs: of each arm but the first, with the first.
        null: of the first with itself.
    """

    calls: int = 0
    left: int = 0
    copies: list[dict[str, int]]
    times: list[dict[str, LatencyHistogram]]
    rates: list[dict[str, Sums]]
    pairs: list[PairTally]
    null: PairTally = field(default_factory=PairTally)

    @classmethod
    def of(cls, arms: int) -> Self:
        """Nothing seen yet of so many arms."""
        return cls(
            copies=[{} for _ in range(arms)],
            times=[new_times() for _ in range(arms)],
            rates=[{} for _ in range(arms)],
            pairs=[PairTally() for _ in range(arms - 1)],
        )

    def plus(self, other: ShadowTally) -> ShadowTally:
        """Both together, with new histograms."""
        copies: list[dict[str, int]] = [dict(each) for each in self.copies]
        for mine, theirs in zip(copies, other.copies, strict=True):
            for word, count in theirs.items():
                mine[word] = mine.get(word, 0) + count
        times = [new_times() for _ in self.times]
        for each in (self.times, other.times):
            for whole, part in zip(times, each, strict=True):
                merge_times(whole, part)
        return ShadowTally(
            calls=self.calls + other.calls,
            left=self.left + other.left,
            copies=copies,
            times=times,
            rates=[added(mine, theirs, Sums) for mine, theirs in zip(self.rates, other.rates, strict=True)],
            pairs=[mine.plus(theirs) for mine, theirs in zip(self.pairs, other.pairs, strict=True)],
            null=self.null.plus(other.null),
        )


class ShadowTallies:
    """Counts; `null` tells whether the first arm is asked twice."""

    def __init__(self, tally: ShadowTally, reader: Reader, *, null: bool) -> None:
        self.tally = tally
        self._reader = reader
        self._null = null
        self._units = Units()

    def take(self, found: Answers) -> None:
        """One call with its copies."""
        tally = self.tally
        tally.calls += 1
        reads = [self._reader.read(found.served)]
        for copy in found.copies:
            read = self._reader.read(copy)
            count_word(tally.copies[copy.arm], copy.outcome.error_code or _SERVED)
            if not read.left_out:
                reads.append(read)
                tell_times(tally.times[copy.arm], copy, served=read.served)
                unit, _ = self._units.of((-1 - copy.arm, copy.unit))  # beside those of pairs
                tell_rates(tally.rates[copy.arm], unit, read.says)
        if reads[0].left_out:
            tally.left += 1
            return
        firsts = [read for read in reads if read.seen.arm == 0]
        if not firsts:
            return
        first, *again = firsts
        if again:
            self._tell(tally.null, first, again[0], None)
        for read in reads:
            if read.seen.arm:
                own = _both(first, again[0]) if again else None
                self._tell(tally.pairs[read.seen.arm - 1], first, read, own)

    def _tell(self, tally: PairTally, a: Reading, b: Reading, own: Both | None) -> None:
        tally.pairs += 1
        says_a, says_b = _says(a), _says(b)
        found = [(name, says_a[name], says_b[name]) for name in says_a if name in says_b]
        both = _both(a, b)
        if both is not None:
            _tell_prompts(tally, a, b)
            greedy = _is_greedy(a)
            if greedy:
                tally.greedy.tell(*both)
            if b.seen.arm and (own is not None or not self._null):
                found += _agreements(both, own, greedy=greedy)
        unit, _ = self._units.of((b.seen.arm, a.seen.unit))
        for name, first, second in found:
            if first is not None and second is not None:
                unit[name] = tally.rates.setdefault(name, PairSums()).tell(unit.get(name, (0, 0)), first, second)


Both = tuple[Answer, Answer]


def _both(a: Reading, b: Reading) -> Both | None:
    """Two whole answers."""
    return None if a.answer is None or b.answer is None else (a.answer, b.answer)


def _says(read: Reading) -> dict[str, bool | None]:
    """As a copy, which is tried once, would have said it: a call that was tried again has not succeeded."""
    first = next(iter(read.seen.outcome.attempts), None)
    well = first is not None and first.error_code is None and first.replica in read.seen.replicas
    return {**read.says, "success_rate": well and read.served}


def _agreements(both: Both, own: Both | None, *, greedy: bool) -> list[tuple[str, bool | None, bool | None]]:
    """Does B say what A says, where A says it again? Sampled answers differ by themselves, so they want A's second answer."""
    same: dict[str, Callable[[Both], bool]] = {}
    if greedy:
        same["greedy_agreement"] = lambda pair: said(pair[0]) == said(pair[1])
    if greedy or own is not None:
        same["finish_agreement"] = lambda pair: pair[0].finish_reason == pair[1].finish_reason
    return [(name, own is None or ask(own), ask(both)) for name, ask in same.items()]


def _is_greedy(read: Reading) -> bool:
    call = read.seen.call
    temperature = call.fields.get("temperature", call.model.defaults.get("temperature"))
    return temperature is not None and msgspec.json.decode(temperature) == 0


def _tell_prompts(tally: PairTally, a: Reading, b: Reading) -> None:
    usages = a.seen.outcome.usage, b.seen.outcome.usage
    counted = [usage.prompt_tokens for usage in usages if usage is not None and usage.prompt_tokens is not None]
    if len(counted) == len(usages) and not a.seen.outcome.usage_estimated:
        tally.prompts += 1
        tally.prompts_differ += counted[0] != counted[1]
