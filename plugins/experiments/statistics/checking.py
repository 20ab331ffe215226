"""Refuses what no method can say anything of: not numbers, outside of the bounds, empty, levels that are none."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]
Places: TypeAlias = npt.NDArray[np.intp]
# A number; or an array with one a lane: many sequences that run side by side, as the simulations have them.
Lanes: TypeAlias = Any


class InvalidSample(ValueError):
    """What was given is no sample, margin or level: the caller's mistake, said in words."""


class NotEnough(InvalidSample):
    """A sample, but too small to say anything of: an arm or a stratum without calls. A verdict makes `undecided` of it."""


def check_level(level: float, name: str = "alpha") -> float:
    """A probability strictly between 0 and 1."""
    if not 0 < level < 1:  # refuses NaN too
        raise InvalidSample(f"{name} must lie between 0 and 1, not {level}")
    return float(level)


def check_margin(margin: float, most: float = np.inf) -> float:
    """A margin above 0, below `most`."""
    if not 0 < margin < most:
        bound = f" and below {most:g}" if most < np.inf else ""
        raise InvalidSample(f"a margin must be above 0{bound}, not {margin}")
    return float(margin)


def check_values(values: Any, low: float = -np.inf, high: float = np.inf, name: str = "values") -> Floats:
    """Finite numbers within [low, high], as an array of whatever shape they have."""
    array = np.asarray(values, dtype=np.float64)
    if not np.all(np.isfinite(array)):
        raise InvalidSample(f"{name} must be finite numbers")
    if np.any(array < low) or np.any(array > high):
        raise InvalidSample(f"{name} must lie within [{low:g}, {high:g}]")
    return array


def check_column(values: Any, low: float = -np.inf, high: float = np.inf, name: str = "values") -> Floats:
    """One number for each of at least one call, within [low, high]: shape (calls,)."""
    array = check_values(values, low, high, name)
    if array.ndim != 1:
        raise InvalidSample(f"{name} must be one number a call, not of shape {array.shape}")
    if not array.size:
        raise NotEnough(f"no {name}")
    return array


def check_binary(values: Any, name: str = "outcomes") -> Floats:
    """One 0 or 1 for each of at least one call: shape (calls,)."""
    array = check_column(values, 0, 1, name)
    if np.any((array != 0) & (array != 1)):
        raise InvalidSample(f"{name} must be 0 or 1")
    return array


def check_count(count: int, name: str = "count", least: int = 0) -> int:
    """A whole number, `least` or more."""
    if not math.isfinite(count) or count != int(count) or count < least:
        raise InvalidSample(f"{name} must be a whole number, {least} or more, not {count}")
    return int(count)


def check_weights(weights: Sequence[float], name: str = "weights") -> Floats:
    """Weights above 0 of at least two arms (or one stratum), scaled so that they sum to 1."""
    array = check_column(weights, 0, name=name)
    if np.any(array <= 0):
        raise InvalidSample(f"{name} must be above 0")
    scaled: Floats = array / array.sum()
    return scaled
