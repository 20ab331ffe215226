"""The Lua script that is the store's whole algorithm, and how an exchange becomes its arguments."""

from __future__ import annotations

import hashlib
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

SOURCE = Path(__file__).with_name("exchange.lua").read_bytes()
DIGEST = hashlib.sha1(SOURCE, usedforsecurity=False).hexdigest().encode()

# Lua counts in doubles: beyond this they are no longer exact.
LARGEST = 2**52

# The longest steady refill that is written as a whole number of units per so many seconds: a month's.
_LONGEST_SECONDS = 31 * 86_400


@lru_cache(maxsize=4096)
def rate_of(refill_per_second: float) -> tuple[int, int]:
    """Units per so many seconds, both whole: the fraction that the float was made of, as far as it was one.

    The store can then add for years without drifting from the clock.
    """
    if refill_per_second <= 0:
        return 0, 1
    rate = Fraction(refill_per_second).limit_denominator(_LONGEST_SECONDS)
    if rate.numerator == 0:  # less than a unit a month
        return 1, _LONGEST_SECONDS
    return min(rate.numerator, LARGEST), rate.denominator
