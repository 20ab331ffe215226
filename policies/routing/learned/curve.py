"""How long a replica takes to the first event, and how much it gets done; learnt by the prompts' length, in constant memory."""

from __future__ import annotations

from collections.abc import Sequence

# By powers of four of the tokens; the last one begins at four million.
CLASSES = 12

# A class goes by its last ten figures or so; the first few count alike.
NEWEST_WEIGHT = 0.1
# What is far out of what was seen so far counts as this much of it: one stall is no change of pace, several are.
MOST_SURPRISE = 4.0
# Fewer tokens say how long the way there and back takes, and little about the pace.
LEAST_TELLING_TOKENS = 512.0

# A class begins at twice so many tokens, but for the sign.
_LEAST_BASES = tuple(-(4.0**place) / 4 for place in range(CLASSES))


def class_of(tokens: int) -> int:
    """The class of so many tokens."""
    return min(tokens.bit_length() >> 1, CLASSES - 1)


class Curve:
    """Seconds until a prompt's first event, by its length and by all that has to be read until then.

    Per class of the prompt's own tokens the mean of what was seen; from there on a line over the tokens to be read.

    Args:
        slope: seconds a token, until something is learnt.
    """

    __slots__ = ("_counts", "_longest", "_prior", "_seconds", "_tokens", "_told", "bases", "slope")

    def __init__(self, slope: float) -> None:
        self._prior = self.slope = slope
        self.bases = [0.0] * CLASSES
        self._told: dict[int, list[int]] = {}
        self._longest = 0
        self._counts = [0] * CLASSES
        self._tokens = [0.0] * CLASSES
        self._seconds = [0.0] * CLASSES

    def expect(self, slope: float) -> None:
        """Begin from another slope; only where nothing was learnt yet."""
        self._prior = self.slope = slope

    def at(self, own: int, work: int) -> float:
        """Seconds for a prompt of its own tokens, when there is so much to be read, its own included.

        Written out again where it is asked for dozens of replicas at a time.
        """
        return max(self.bases[class_of(own)] + work * self.slope, 0.0)

    def learn(self, own: int, work: int, seconds: float) -> None:
        """Take one figure."""
        place = class_of(own)
        count = self._counts[place]
        self._counts[place] = count + 1
        if count:
            seconds = min(seconds, MOST_SURPRISE * max(self._seconds[place], 1e-3))
        weight = max(1.0 / (count + 1), NEWEST_WEIGHT)
        self._tokens[place] += weight * (work - self._tokens[place])
        self._seconds[place] += weight * (seconds - self._seconds[place])
        if not count:
            self._told = told_by(self._counts)
            self._longest = max(self._told)
        if place == self._longest:
            tokens = self._tokens[place]
            pace = self._seconds[place] / max(tokens, 1.0)
            self.slope = pace if tokens >= LEAST_TELLING_TOKENS else min(pace, self._prior)
            for each in self._told:
                self._fit(each)
        else:
            self._fit(place)

    def _fit(self, place: int) -> None:
        slope, bases = self.slope, self.bases
        base = self._seconds[place] - slope * self._tokens[place]
        for each in self._told[place]:
            # Never so far below that the shortest prompt of a class would be there before it was sent.
            least = slope * _LEAST_BASES[each]
            bases[each] = max(base, least)


class Rate:
    """Tokens a second that a replica gets done, by the class of the prompt; 0 until something is learnt."""

    __slots__ = ("_seconds", "_tokens", "_told", "rates")

    def __init__(self) -> None:
        self.rates = [0.0] * CLASSES
        self._told: dict[int, list[int]] = {}
        self._tokens = [0.0] * CLASSES
        self._seconds = [0.0] * CLASSES

    def learn(self, prompt_tokens: int, tokens: float, seconds: float) -> None:
        """A call of so long a prompt: the replica made so many tokens, of all its calls, in the seconds that it took."""
        place = class_of(prompt_tokens)
        self._tokens[place] = (1 - NEWEST_WEIGHT) * self._tokens[place] + tokens
        self._seconds[place] = (1 - NEWEST_WEIGHT) * self._seconds[place] + seconds
        if place not in self._told:
            self._told = told_by(self._seconds)
        rate = self._tokens[place] / self._seconds[place]
        for each in self._told[place]:
            self.rates[each] = rate


def told_by(seen: Sequence[float]) -> dict[int, list[int]]:
    """By each class of which anything was seen, those that it tells for: itself, and others that have it nearest.

    That is the next longer class of which anything was seen; beyond the longest, that one.
    """
    known = [place for place in range(CLASSES) if seen[place]]
    told: dict[int, list[int]] = {place: [] for place in known}
    at = 0
    for place in range(CLASSES):
        while at < len(known) - 1 and known[at] < place:
            at += 1
        told[known[at]].append(place)
    return told
