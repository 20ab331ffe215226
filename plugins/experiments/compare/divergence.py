"""Where two greedy answers to one call part, and by how much their log-probabilities differ; reads texts back, keeps few."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from plugins.experiments.compare.observed import Pair
from plugins.experiments.compare.results import Answer, read_result, tool_calls_as_data

MOST_EXAMPLES = 12
MOST_EXAMPLE_CHARACTERS = 4000
# Of the shorter answer: in tenths of it. An answer that agrees wholly has a place of its own.
PARTS = 10


class Example(Struct, frozen=True):
    """Two answers that differ: `same` characters are alike at their beginning."""

    call: str
    call_ids: tuple[str, str]
    same: int
    a: str
    b: str


class LogProbabilities(Struct, frozen=True, kw_only=True):
    """Over tokens that both arms chose after the same text: in nats.

    Attributes:
        tokens: how many places both arms came to by the same text, the one where they part among them.
        mean_difference, largest_difference: of the chosen token's log-probability, absolute; None where none is the same.
        top_agreement: how often the likeliest token is the same.
    """

    tokens: int = 0
    mean_difference: float | None = None
    largest_difference: float | None = None
    top_agreement: float | None = None


class Divergence(Struct, kw_only=True):
    """Of all greedy pairs.

    Attributes:
        pairs, alike: how many, and how many say just the same.
        by_part: how many part in each tenth of the shorter answer: shape (PARTS,).
        median_same_characters: of those that part, how much they have in common at their beginning.
        prompt_tokens_differ: pairs whose engines counted another number of prompt tokens: their templates differ.
    """

    pairs: int = 0
    alike: int = 0
    by_part: list[int] = []
    median_same_characters: int | None = None
    prompt_tokens_differ: int = 0
    log_probabilities: LogProbabilities = LogProbabilities()
    examples: list[Example] = []


def diverge(folder: Path, pairs: Sequence[Pair]) -> Divergence:
    """Look at each greedy pair without a failure."""
    found = Divergence(by_part=[0] * PARTS)
    lengths: list[int] = []
    sums = _Sums()
    for pair in pairs:
        if not (pair.whole and pair.a.greedy):
            continue
        found.pairs += 1
        counted = (pair.a.prompt_tokens, pair.b.prompt_tokens)
        found.prompt_tokens_differ += None not in counted and counted[0] != counted[1]
        alike = pair.a.said == pair.b.said
        found.alike += alike
        if alike and sums.hopeless:
            continue
        first, second = (read_result(folder, each.start).answer for each in (pair.a, pair.b))
        sums.add(first, second)
        if alike:
            continue
        texts = _text(first), _text(second)
        same = common_characters(*texts)
        lengths.append(same)
        shorter = max(min(len(texts[0]), len(texts[1])), 1)
        found.by_part[min(same * PARTS // shorter, PARTS - 1)] += 1
        if len(found.examples) < MOST_EXAMPLES:
            ids = first.call_id, second.call_id
            found.examples.append(Example(pair.a.call, ids, same, *(each[:MOST_EXAMPLE_CHARACTERS] for each in texts)))
    if lengths:
        found.median_same_characters = sorted(lengths)[len(lengths) // 2]
    found.log_probabilities = sums.result()
    return found


class _Sums:
    """Differences of log-probabilities so far."""

    def __init__(self) -> None:
        self._pairs = 0
        self._tokens = self._same = 0
        self._total = self._largest = 0.0
        self._tops = 0

    @property
    def hopeless(self) -> bool:
        """No log-probabilities were asked for, by what some answers show: those that are alike need not be read."""
        return self._pairs >= PARTS and not self._tokens

    def add(self, a: Answer, b: Answer) -> None:
        self._pairs += 1
        for (token, chance, top), (other, other_chance, other_top) in zip(a.tokens, b.tokens, strict=False):
            self._tops += top == other_top
            self._tokens += 1
            if token != other:
                # From here on the arms write after different texts. Both chose: the difference is not of one token.
                break
            self._same += 1
            difference = abs(chance - other_chance)
            self._total += difference
            self._largest = max(self._largest, difference)

    def result(self) -> LogProbabilities:
        if not self._tokens:
            return LogProbabilities()
        return LogProbabilities(
            tokens=self._tokens,
            mean_difference=self._total / self._same if self._same else None,
            largest_difference=self._largest if self._same else None,
            top_agreement=self._tops / self._tokens,
        )


def common_characters(a: str, b: str) -> int:
    """How many characters two texts begin with alike."""
    shorter = min(len(a), len(b))
    return next((place for place in range(shorter) if a[place] != b[place]), shorter)


def _text(answer: Answer) -> str:
    """For people: the text, and tool calls below it."""
    calls = [f"→ {each['name']}({_compact(each['arguments'])})" for each in tool_calls_as_data(answer.tool_calls)]
    return "\n".join([*([answer.text] if answer.text else []), *calls])


def _compact(arguments: object) -> str:
    return arguments if isinstance(arguments, str) else msgspec.json.encode(arguments).decode()
