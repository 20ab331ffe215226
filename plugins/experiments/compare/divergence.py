"""Where two greedy answers to one call part, and by how much their log-probabilities differ; reads texts back, keeps few."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from plugins.experiments.compare.likeness import (
    PARTS,
    LogProbabilities,
    TokenSums,
    common_characters,
    part_of,
    text_of,
)
from plugins.experiments.compare.observed import Pair
from plugins.experiments.compare.results import read_result

MOST_EXAMPLES = 12
MOST_EXAMPLE_CHARACTERS = 4000


class Example(Struct, frozen=True):
    """Two answers that differ: `same` characters are alike at their beginning."""

    call: str
    call_ids: tuple[str, str]
    same: int
    a: str
    b: str


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
    sums = TokenSums()
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
        texts = text_of(first), text_of(second)
        same = common_characters(*texts)
        lengths.append(same)
        found.by_part[part_of(same, *texts)] += 1
        if len(found.examples) < MOST_EXAMPLES:
            ids = first.call_id, second.call_id
            found.examples.append(Example(pair.a.call, ids, same, *(each[:MOST_EXAMPLE_CHARACTERS] for each in texts)))
    if lengths:
        found.median_same_characters = sorted(lengths)[len(lengths) // 2]
    found.log_probabilities = sums.result()
    return found
