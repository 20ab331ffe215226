"""Small estimators that learn from one figure after another: a line through points, a ratio, a mean; in constant memory."""

from __future__ import annotations

# How much of what was learnt is kept at each new figure: the last fifty or so count.
DECAY = 0.98

# What tokenizers of today make of text before any of it was seen: a quarter of a token a byte, and a template's frame.
_PRIOR_SLOPE = 0.25
_PRIOR_BASE = 12.0
_PRIOR_SIZES = (100.0, 10_000.0)
# It is worth a half after so many figures, and never less than one of so many of them.
_PRIOR_FADES = 2
_MOST_FADED = 50

# No text comes to more or less than this, whatever a client sends to spoil what is learnt.
_LEAST_SLOPE, _MOST_SLOPE = 1 / 64, 2.0
_MOST_BASE = 4_096.0


class Line:
    """Tokens by bytes: `base + slope * bytes`, fitted so that the relative errors are small.

    Two terms, because what a chat template puts around a prompt does not grow with it.
    """

    __slots__ = ("_count", "_sums", "base", "slope")

    def __init__(self) -> None:
        self.base = _PRIOR_BASE
        self.slope = _PRIOR_SLOPE
        self._count = 0
        # Weighted by 1/x: sums of the weights, of x, of y, of x*x and of x*y.
        self._sums = (0.0, 0.0, 0.0, 0.0, 0.0)

    def learn(self, size: int, tokens: int) -> None:
        """Take one point; `size` is in bytes and more than zero."""
        count, xs, ys, xxs, xys = self._sums
        # Written out: each call of the gateway is learnt from.
        x, y = float(size), float(tokens)
        weights = self._sums = (
            count * DECAY + 1.0 / x,
            xs * DECAY + 1.0,
            ys * DECAY + y / x,
            xxs * DECAY + x,
            xys * DECAY + y,
        )
        self._count = min(self._count + 1, _PRIOR_FADES * _MOST_FADED)
        share = _PRIOR_FADES / (_PRIOR_FADES + self._count)
        weight = weights[0] + _PRIOR[0] * share
        x = weights[1] + _PRIOR[1] * share
        y = weights[2] + _PRIOR[2] * share
        xx = weights[3] + _PRIOR[3] * share
        xy = weights[4] + _PRIOR[4] * share
        # The prior's two points lie apart, so this is never zero.
        slope = (weight * xy - x * y) / (weight * xx - x * x)
        base = (y - slope * x) / weight
        if base < 0:
            base, slope = 0.0, xy / xx
        self.base = min(base, _MOST_BASE)
        self.slope = min(max(slope, _LEAST_SLOPE), _MOST_SLOPE)

    def at(self, size: int) -> int:
        """Tokens of so many bytes."""
        return int(self.base + self.slope * size) + 1


def _weighted(x: float, y: float) -> tuple[float, float, float, float, float]:
    return 1.0 / x, 1.0, y / x, x, y


_PRIOR = [
    sum(terms) for terms in zip(*(_weighted(x, _PRIOR_BASE + _PRIOR_SLOPE * x) for x in _PRIOR_SIZES), strict=True)
]


class Ratio:
    """How many of one come with one of another, by the sums of both; `prior` weighs as much as `weight` of the second."""

    __slots__ = ("_many", "_ones", "value")

    def __init__(self, prior: float, weight: float) -> None:
        self.value = prior
        self._many = prior * weight
        self._ones = weight

    def learn(self, many: float, ones: float) -> None:
        """Take one pair; `ones` is more than zero."""
        self._many = self._many * DECAY + many
        self._ones = self._ones * DECAY + ones
        self.value = self._many / self._ones


class Mean:
    """A mean that forgets; the first figures move it fast."""

    __slots__ = ("_count", "value")

    SLOWEST = 20

    def __init__(self, prior: float) -> None:
        self.value = prior
        self._count = 1

    def learn(self, figure: float) -> None:
        """Take one figure."""
        self._count = min(self._count + 1, self.SLOWEST)
        self.value += (figure - self.value) / self._count
