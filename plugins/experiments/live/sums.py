"""Running sums of a yes-or-no outcome over units that have several calls each: what intervals and design effects want to know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self, TypeVar

import msgspec
from msgspec import Struct

from plugins.experiments.statistics.independent import Rate
from plugins.experiments.statistics.paired import PairedTable

# With fewer units, or fewer calls that are not like most, their spread says nothing: a unit's calls count as one.
FEW = 10


class UnitSums(Struct):
    """Values of calls, -1, 0 or 1, with the sums over units that tell how alike a unit's calls are.

    Attributes:
        total: of all calls' values.
        squares_n, squares_total, products: over units, of calls squared, of a unit's total squared, and of calls times total.
    """

    calls: int = 0
    total: int = 0
    units: int = 0
    squares_n: int = 0
    squares_total: int = 0
    products: int = 0

    def add(self, before: tuple[int, int], value: int) -> tuple[int, int]:
        """One call of a unit that had so many calls and such a total before; what it has now."""
        calls, total = before
        self.units += not calls
        self.calls += 1
        self.total += value
        self.squares_n += 2 * calls + 1
        self.squares_total += 2 * total * value + value * value
        self.products += calls * value + total + value
        return calls + 1, total + value

    def plus(self, other: Self) -> Self:
        """Both together."""
        mine, theirs = msgspec.structs.astuple(self), msgspec.structs.astuple(other)
        return type(self)(*(a + b for a, b in zip(mine, theirs, strict=True)))

    def design_effect(self, variance: float, uncommon: int) -> float:
        """By how much units raise the variance of the mean, 1 or more (Rao & Scott, Biometrics 48, 1992).

        `variance` is that of one call's value, `uncommon` how many calls have another value than most.
        """
        if self.units == self.calls:
            return 1.0
        if self.units < FEW or uncommon < FEW or variance <= 0:
            return self.squares_n / self.calls  # as if all calls of a unit said the same
        mean = self.total / self.calls
        spread = self.squares_total - 2 * mean * self.products + mean**2 * self.squares_n
        return max(spread * self.units / (self.units - 1) / self.calls / variance, 1.0)


S = TypeVar("S", bound=UnitSums)


def added(one: Mapping[str, S], other: Mapping[str, S], kind: type[S]) -> dict[str, S]:
    """Both together, by endpoint."""
    names = dict.fromkeys((*one, *other))
    return {name: one.get(name, kind()).plus(other.get(name, kind())) for name in names}


class Sums(UnitSums):
    """An outcome of one arm: a value is 1 for yes and 0 for no."""

    def rate(self) -> Rate:
        """With the design effect of its units.

        Raises:
            NotEnough: no call has told.
        """
        if self.units == self.calls:
            return Rate(successes=self.total, calls=self.calls)
        rate = self.total / self.calls
        effect = self.design_effect(rate * (1 - rate), min(self.total, self.calls - self.total))
        return Rate(successes=self.total, calls=self.calls, conversations=self.units, design_effect=effect)


class PairSums(UnitSums):
    """An outcome of two answers to one call: a value is B's less A's.

    Attributes:
        both, only_a, only_b: pairs of which both say yes, or one.
    """

    both: int = 0
    only_a: int = 0
    only_b: int = 0

    def tell(self, before: tuple[int, int], a: bool, b: bool) -> tuple[int, int]:
        """One pair; see `add`."""
        self.both += a and b
        self.only_a += a and not b
        self.only_b += b and not a
        return self.add(before, int(b) - int(a))

    def table(self) -> PairedTable:
        """With the design effect of its units.

        Raises:
            NotEnough: no pair has told.
        """
        discordant = self.only_a + self.only_b
        effect, conversations = 1.0, 0
        if self.units < self.calls:
            variance = discordant / self.calls - (self.total / self.calls) ** 2
            effect, conversations = self.design_effect(variance, discordant), self.units
        return PairedTable(
            both=self.both,
            only_a=self.only_a,
            only_b=self.only_b,
            neither=self.calls - self.both - discordant,
            conversations=conversations,
            design_effect=effect,
        )
