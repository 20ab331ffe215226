"""What was measured: of one call, and of all calls of a window; in bounded memory."""

from __future__ import annotations

import math
import random
from array import array
from collections import Counter

from msgspec import Struct, field

# Of one quantity: beyond that each further value takes the place of one that is drawn.
MOST_VALUES = 200_000
MOST_GAPS = 100_000
MOST_KINDS = 32


class Sample(Struct):
    """One call. Times are in seconds from when it was sent.

    Attributes:
        error: of what kind, such as `status_503` or `timed_out`; "" for a whole answer.
        detail: what was said of it.
        first_token: to the first event in which something is said; None where none was, or where there is no stream.
        gaps: between such events; an event may hold more than one token.
        total: to the end.
        prompt_tokens, output_tokens: by the endpoint's usage; None where it told none.
        events: in which something was said.
    """

    error: str = ""
    detail: str = ""
    first_token: float | None = None
    gaps: list[float] = field(default_factory=list)
    total: float = 0.0
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    events: int = 0


class Spread:
    """Values of one quantity, of which as many are kept as memory allows: the first ones, then a fair sample of all."""

    __slots__ = ("_random", "count", "kept", "total")

    def __init__(self) -> None:
        self.kept = array("d")
        self._random = random.Random(0)  # noqa: S311 - nothing secret comes of it
        self.count = 0
        self.total = 0.0

    def add(self, value: float) -> None:
        """Take one in."""
        self.count += 1
        self.total += value
        if len(self.kept) < MOST_VALUES:
            self.kept.append(value)
            return
        place = self._random.randrange(self.count)
        if place < MOST_VALUES:
            self.kept[place] = value

    def join(self, other: Spread) -> None:
        """Take another's in."""
        for value in other.kept:
            self.add(value)
        self.count += other.count - len(other.kept)
        self.total += other.total - sum(other.kept)

    def quantiles(self, *levels: float) -> list[float]:
        """The smallest values that at least such shares do not exceed (nearest rank); NaN of nothing."""
        ordered = sorted(self.kept)
        if not ordered:
            return [math.nan] * len(levels)
        return [ordered[max(math.ceil(level * len(ordered)), 1) - 1] for level in levels]

    @property
    def mean(self) -> float:
        """NaN of nothing."""
        return self.total / self.count if self.count else math.nan


class Window(Struct):
    """All calls that ended within a span of time, at one level, of one endpoint.

    Attributes:
        at_once: calls under way at once.
        seconds: how long it was.
        answered: calls with a whole answer.
        errors: the others by kind; `examples` holds what was said of the first of each.
        first_token, gap, per_token, total: in seconds. `per_token` is of each call: from the first token to the last, by the
            tokens after the first.
        prompt_tokens, output_tokens: sums; `untold` calls are in the second with their events, as no usage was told.
        cpu_cores: that the one who measures used.
        lateness: of its own timers, in seconds: how long whatever comes has to wait for it.
    """

    at_once: int
    seconds: float = 0.0
    answered: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    first_token: Spread = field(default_factory=Spread)
    gap: Spread = field(default_factory=Spread)
    per_token: Spread = field(default_factory=Spread)
    total: Spread = field(default_factory=Spread)
    prompt_tokens: int = 0
    output_tokens: int = 0
    untold: int = 0
    cpu_cores: float = 0.0
    lateness: Spread = field(default_factory=Spread)

    def add(self, sample: Sample) -> None:
        """Take a call in."""
        if sample.error:
            kind = sample.error if sample.error in self.errors or len(self.errors) < MOST_KINDS else "other"
            self.errors[kind] += 1
            self.examples.setdefault(kind, sample.detail)
            return
        self.answered += 1
        self.total.add(sample.total)
        self.prompt_tokens += sample.prompt_tokens or 0
        tokens = sample.output_tokens
        if tokens is None:
            self.untold += 1
            tokens = sample.events
        self.output_tokens += tokens
        if sample.first_token is None:
            return
        self.first_token.add(sample.first_token)
        for gap in sample.gaps:
            self.gap.add(gap)
        if tokens > 1 and sample.gaps:
            self.per_token.add(sum(sample.gaps) / (tokens - 1))

    def join(self, other: Window) -> None:
        """Take another window's calls in."""
        seconds = self.seconds + other.seconds
        if seconds:
            self.cpu_cores = (self.cpu_cores * self.seconds + other.cpu_cores * other.seconds) / seconds
        self.seconds = seconds
        self.answered += other.answered
        self.errors.update(other.errors)
        for kind, detail in other.examples.items():
            self.examples.setdefault(kind, detail)
        for name in ("first_token", "gap", "per_token", "total", "lateness"):
            getattr(self, name).join(getattr(other, name))
        self.prompt_tokens += other.prompt_tokens
        self.output_tokens += other.output_tokens
        self.untold += other.untold

    @property
    def calls_per_second(self) -> float:
        """With a whole answer."""
        return self.answered / self.seconds if self.seconds else 0.0

    @property
    def tokens_per_second(self) -> float:
        """Of output."""
        return self.output_tokens / self.seconds if self.seconds else 0.0
