"""How alike two answers to one call are: where they part, and by how much their log-probabilities differ; reads no file."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from plugins.experiments.compare.results import Answer, tool_calls_as_data

# Of the shorter answer: in tenths of it. An answer that agrees wholly has a place of its own.
PARTS = 10


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


class TokenSums(Struct):
    """Differences of log-probabilities so far.

    Attributes:
        pairs: of answers.
        tokens, same, tops: places that both came to by the same text; those where they chose the same; the same likeliest one.
        total, largest: of the absolute differences of the tokens that both chose, in nats.
    """

    pairs: int = 0
    tokens: int = 0
    same: int = 0
    tops: int = 0
    total: float = 0.0
    largest: float = 0.0

    @property
    def hopeless(self) -> bool:
        """No log-probabilities were asked for, by what some answers show: those that are alike need not be read."""
        return self.pairs >= PARTS and not self.tokens

    def add(self, a: Answer, b: Answer) -> None:
        """One pair."""
        self.pairs += 1
        for (token, chance, top), (other, other_chance, other_top) in zip(a.tokens, b.tokens, strict=False):
            self.tops += top == other_top
            self.tokens += 1
            if token != other:
                # From here on the arms write after different texts. Both chose: the difference is not of one token.
                break
            self.same += 1
            difference = abs(chance - other_chance)
            self.total += difference
            self.largest = max(self.largest, difference)

    def plus(self, other: TokenSums) -> TokenSums:
        """Both together."""
        return TokenSums(
            self.pairs + other.pairs,
            self.tokens + other.tokens,
            self.same + other.same,
            self.tops + other.tops,
            self.total + other.total,
            max(self.largest, other.largest),
        )

    def result(self) -> LogProbabilities:
        """In words of statistics."""
        if not self.tokens:
            return LogProbabilities()
        return LogProbabilities(
            tokens=self.tokens,
            mean_difference=self.total / self.same if self.same else None,
            largest_difference=self.largest if self.same else None,
            top_agreement=self.tops / self.tokens,
        )


def common_characters(a: str, b: str) -> int:
    """How many characters two texts begin with alike."""
    shorter = min(len(a), len(b))
    return next((place for place in range(shorter) if a[place] != b[place]), shorter)


def part_of(same: int, a: str, b: str) -> int:
    """In which part of the shorter one two texts part that have so many characters in common: 0 to PARTS - 1."""
    return min(same * PARTS // max(min(len(a), len(b)), 1), PARTS - 1)


def text_of(answer: Answer) -> str:
    """For people: the text, and tool calls below it."""
    calls = [f"→ {each['name']}({_compact(each['arguments'])})" for each in tool_calls_as_data(answer.tool_calls)]
    return "\n".join([*([answer.text] if answer.text else []), *calls])


def _compact(arguments: object) -> str:
    return arguments if isinstance(arguments, str) else msgspec.json.encode(arguments).decode()
