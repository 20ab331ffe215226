"""Compares what two replicas said: pairs tokens, finds where they part, measures how far apart they are; pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from msgspec import Struct

from plugins.engine_verify.evidence import Continuation, Followed, Place, PromptTokens, Token

K = TypeVar("K", int, str)

# Below this an alternative has a chance of one in three thousand: its score says more of rounding than of the weights.
LEAST_LOGPROB = -8.0


def same_token(one: Token, other: Token) -> bool:
    """Whether two engines mean the same token: by id where both tell it, else by text.

    Two tokens that are both part of a character, without ids, count as the same: what comes after them will tell.
    """
    if one.id is not None and other.id is not None:
        return one.id == other.id
    return one.text == other.text


def agrees(place: Place) -> bool:
    """Whether both write the same here."""
    if place.reference is None or place.candidate is None:
        return place.reference is place.candidate
    return same_token(place.reference, place.candidate)


def pair(reference: Continuation, candidate: Continuation, start: int = 0) -> tuple[Place, ...]:
    """Pair the reference's tokens from `start` on with the candidate's, up to and with the first place where they part.

    Some engines list the token that ends an answer, some do not: one such token more is no difference.
    """
    places: list[Place] = []
    expected = reference.tokens[start:]
    for offset in range(max(len(expected), len(candidate.tokens)) + 1):
        here = expected[offset] if offset < len(expected) else None
        there = candidate.tokens[offset] if offset < len(candidate.tokens) else None
        if (here is None and not reference.stopped) or (there is None and not candidate.stopped):
            break
        if here is None and (there is None or (offset == len(candidate.tokens) - 1 and candidate.stopped)):
            break
        if there is None and offset == len(expected) - 1 and reference.stopped:
            break
        place = Place(start + offset, here, there)
        places.append(place)
        if not agrees(place):
            break
    return tuple(places)


def margin(place: Place) -> float | None:
    """By how much the reference itself prefers its own token to the candidate's, in nats; 0 or more.

    None where it does not say, because the candidate's token is not among its likeliest.
    """
    reference, candidate = place.reference, place.candidate
    if reference is None or candidate is None or reference.logprob is None:
        return None
    other = _score_of(candidate, reference)
    return max(reference.logprob - other, 0.0) if other is not None else None


def _score_of(token: Token, by: Token) -> float | None:
    """The log-probability that one engine gives another's token in the place of its own; None if it does not say."""
    if token.id is not None and by.alternatives_by_id:
        return by.alternatives_by_id.get(token.id)
    return by.alternatives.get(token.text) if token.text is not None else None


class Figures(Struct, frozen=True, kw_only=True):
    """How near a replica is to the reference, over all prompts.

    Attributes:
        prompts: how many were compared.
        whole: in how many of them it wrote what the reference wrote, to the end.
        shared: tokens written alike before the first parting, summed over the prompts.
        tokens: places compared, those after a parting included, on the reference's way.
        agreed: at how many of them its likeliest token is the reference's.
        differences: how many log-probabilities of the reference's tokens could be compared.
        mean_difference: their mean |Δ|, in nats. Where both are sure of a token, this says little.
        max_difference: their largest |Δ|.
        others: how many log-probabilities of other likely tokens could be compared.
        mean_difference_of_others: their mean |Δ|: what rounding and quantisation show in first.
        widest: prompt and index of the largest |Δ|.
    """

    prompts: int = 0
    whole: int = 0
    shared: int = 0
    tokens: int = 0
    agreed: int = 0
    differences: int = 0
    mean_difference: float | None = None
    max_difference: float | None = None
    others: int = 0
    mean_difference_of_others: float | None = None
    widest: tuple[str, int] | None = None


class Parting(Struct, frozen=True):
    """A place where the replica writes another token than the reference."""

    prompt: str
    place: Place

    @property
    def margin(self) -> float | None:
        """See `margin`."""
        return margin(self.place)


def partings(followed: Iterable[Followed]) -> list[Parting]:
    """Every place where the two part, in the order of the prompts."""
    return [Parting(each.prompt, place) for each in followed for place in each.places if not agrees(place)]


def measure(followed: Iterable[Followed]) -> Figures:
    """Sum up how near a replica is to the reference."""
    prompts = [each for each in followed if each.places]
    places = [(each.prompt, place) for each in prompts for place in each.places]
    chosen = [
        (difference, prompt, place.index) for prompt, place in places if (difference := _difference(place)) is not None
    ]
    others = [difference for _, place in places for difference in _differences_of_others(place)]
    largest = max(chosen, default=None)
    return Figures(
        prompts=len(prompts),
        whole=sum(all(agrees(place) for place in each.places) for each in prompts),
        shared=sum(agreement_length(each.places) for each in prompts),
        tokens=len(places),
        agreed=sum(agrees(place) for _, place in places),
        differences=len(chosen),
        mean_difference=sum(each[0] for each in chosen) / len(chosen) if chosen else None,
        max_difference=largest[0] if largest is not None else None,
        others=len(others),
        mean_difference_of_others=sum(others) / len(others) if others else None,
        widest=(largest[1], largest[2]) if largest is not None else None,
    )


def agreement_length(places: Sequence[Place]) -> int:
    """How many tokens both wrote alike before the first parting."""
    for count, place in enumerate(places):
        if not agrees(place):
            return count
    return len(places)


def _difference(place: Place) -> float | None:
    """|Δ log-probability| of the reference's token, also where the candidate chose another but tells that one's."""
    reference, candidate = place.reference, place.candidate
    if reference is None or candidate is None or reference.logprob is None:
        return None
    found = candidate.logprob if same_token(reference, candidate) else _score_of(reference, candidate)
    return abs(reference.logprob - found) if found is not None else None


def _differences_of_others(place: Place) -> list[float]:
    reference, candidate = place.reference, place.candidate
    if reference is None or candidate is None:
        return []
    if reference.alternatives_by_id and candidate.alternatives_by_id:
        return _differences(reference.alternatives_by_id, candidate.alternatives_by_id, reference.id)
    return _differences(reference.alternatives, candidate.alternatives, reference.text)


def _differences(there: Mapping[K, float], here: Mapping[K, float], chosen: K | None) -> list[float]:
    return [
        abs(logprob - here[token])
        for token, logprob in there.items()
        if token != chosen and logprob >= LEAST_LOGPROB and token in here
    ]


class CutDifference(Struct, frozen=True):
    """A prompt that two replicas cut into different tokens.

    Attributes:
        index: of the first token that differs; None where only the counts are known.
        reference, candidate: that token's ids, None past the end; or the counts.
    """

    prompt: str
    index: int | None
    reference: int | None
    candidate: int | None


class CutComparison(Struct, frozen=True):
    """How two replicas cut the same prompts: how many could be compared by ids, by counts alone, not at all, and what differs.

    `alike` names those that both cut into the same tokens, as far as was told.
    """

    by_ids: int = 0
    by_count: int = 0
    unknown: tuple[tuple[str, str], ...] = ()
    differences: tuple[CutDifference, ...] = ()
    alike: frozenset[str] = frozenset()


def compare_cuts(reference: Mapping[str, PromptTokens], candidate: Mapping[str, PromptTokens]) -> CutComparison:
    """Compare token by token where both tell ids, else by the number of tokens."""
    by_ids = by_count = 0
    unknown: list[tuple[str, str]] = []
    differences: list[CutDifference] = []
    for name, expected in reference.items():
        found = candidate.get(name, PromptTokens(reason="it was not asked"))
        if expected.ids is not None and found.ids is not None:
            by_ids += 1
            index = first_difference(expected.ids, found.ids)
            if index is not None:
                differences.append(CutDifference(name, index, _at(expected.ids, index), _at(found.ids, index)))
        elif expected.count is not None and found.count is not None:
            by_count += 1
            if expected.count != found.count:
                differences.append(CutDifference(name, None, expected.count, found.count))
        else:
            reason = found.reason or (expected.reason and f"the reference: {expected.reason}")
            unknown.append((name, reason or "not told"))
    alike = reference.keys() - {name for name, _ in unknown} - {each.prompt for each in differences}
    return CutComparison(by_ids, by_count, tuple(unknown), tuple(differences), frozenset(alike))


def first_difference(one: Sequence[int], other: Sequence[int]) -> int | None:
    """The first index at which two sequences differ, the shorter one's length if it begins the longer; None if equal."""
    for index, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return index
    return None if len(one) == len(other) else min(len(one), len(other))


def _at(ids: Sequence[int], index: int) -> int | None:
    return ids[index] if index < len(ids) else None
