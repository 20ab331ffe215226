from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.engine_verify.comparing import (
    agreement_length,
    agrees,
    compare_cuts,
    first_difference,
    margin,
    measure,
    pair,
    partings,
    same_token,
)
from plugins.engine_verify.evidence import Continuation, Followed, Place, PromptTokens, Token

ids = st.lists(st.integers(0, 3), max_size=8)
scores = st.floats(-30, 0, allow_nan=False)


def written(numbers: list[int], *, stopped: bool = False) -> Continuation:
    return Continuation(tuple(Token(number, str(number), -0.5) for number in numbers), stopped)


def common(one: list[int], other: list[int]) -> int:
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


@given(ids, st.booleans())
def test_what_is_the_same_never_parts(numbers: list[int], stopped: bool) -> None:
    places = pair(written(numbers, stopped=stopped), written(numbers, stopped=stopped))
    assert [place.index for place in places] == list(range(len(numbers)))
    assert all(map(agrees, places))


@given(ids, ids, st.booleans(), st.booleans())
def test_it_is_followed_to_the_first_parting_and_no_further(
    one: list[int], other: list[int], stopped: bool, ended: bool
) -> None:
    places = pair(written(one, stopped=stopped), written(other, stopped=ended))
    assert [place.index for place in places] == list(range(len(places)))
    assert all(map(agrees, places[:-1]))
    assert agreement_length(places) <= common(one, other)
    if agreement_length(places) < len(places):  # it parted
        assert agreement_length(places) == common(one, other)
    elif not stopped and not ended:  # both were cut by the limit: nothing parts, so one begins the other
        assert common(one, other) == min(len(one), len(other))


@given(ids, st.integers(0, 3))
def test_a_token_that_only_marks_the_end_is_no_parting(numbers: list[int], end: int) -> None:
    with_end, without = written([*numbers, end], stopped=True), written(numbers, stopped=True)
    for places in (pair(with_end, without), pair(without, with_end)):
        assert all(map(agrees, places))
        assert len(places) == len(numbers)


def test_an_end_that_comes_early_is_a_parting() -> None:
    early = pair(written([1, 2, 3, 0], stopped=True), written([1, 2], stopped=True))
    assert [agrees(place) for place in early] == [True, True, False]
    assert early[-1] == Place(2, written([3]).tokens[0], None)
    late = pair(written([1, 2], stopped=True), written([1, 2, 3, 0], stopped=True))
    assert late[-1].reference is None
    assert not agrees(late[-1])


@given(ids, st.integers(0, 8))
def test_a_start_leaves_out_what_was_followed_already(numbers: list[int], start: int) -> None:
    places = pair(written(numbers), written(numbers[start:]), start)
    assert [place.index for place in places] == list(range(start, len(numbers)))
    assert all(map(agrees, places))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (Token(1, "a"), Token(1, "b"), True),
        (Token(1, "a"), Token(2, "a"), False),
        (Token(1, "a"), Token(None, "a"), True),
        (Token(None, "a"), Token(None, "b"), False),
        (Token(1, None), Token(None, None), True),
        (Token(1, None), Token(None, "a"), False),
    ],
)
def test_ids_are_believed_before_texts(one: Token, other: Token, same: bool) -> None:
    assert same_token(one, other) is same
    assert same_token(other, one) is same


def followed(*pairs: tuple[Token, Token]) -> list[Followed]:
    return [Followed("p", tuple(Place(index, *each) for index, each in enumerate(pairs)))]


@given(st.lists(scores, min_size=1, max_size=20), st.floats(-3, 3))
def test_a_shift_of_every_score_is_the_difference(values: list[float], shift: float) -> None:
    figures = measure(followed(*((Token(1, "a", value), Token(1, "a", value + shift)) for value in values)))
    assert figures.mean_difference == pytest.approx(abs(shift), abs=1e-9)
    assert figures.max_difference == pytest.approx(abs(shift), abs=1e-9)
    assert figures.differences == figures.agreed == figures.tokens == figures.shared == len(values)
    assert figures.whole == 1


@given(st.lists(st.tuples(scores, scores), min_size=1, max_size=20))
def test_differences_are_the_same_seen_from_either_side(values: list[tuple[float, float]]) -> None:
    there = measure(followed(*((Token(1, "a", one), Token(1, "a", other)) for one, other in values)))
    back = measure(followed(*((Token(1, "a", other), Token(1, "a", one)) for one, other in values)))
    assert there.mean_difference == back.mean_difference
    assert there.max_difference == back.max_difference
    assert there.mean_difference is not None
    assert there.max_difference is not None
    assert 0 <= there.mean_difference <= there.max_difference * (1 + 1e-9)


def test_where_they_part_the_reference_s_token_is_still_compared() -> None:
    reference = Token(1, "a", -0.1, {"a": -0.1, "b": -2.0, "c": -9.0})
    candidate = Token(2, "b", -0.6, {"b": -0.6, "a": -0.8, "c": -3.0})
    found = followed((reference, candidate))
    figures = measure(found)
    assert figures.max_difference == pytest.approx(0.7)
    assert (figures.others, figures.mean_difference_of_others) == (1, pytest.approx(1.4))  # c is too unlikely
    assert (figures.agreed, figures.tokens, figures.shared, figures.whole) == (0, 1, 0, 0)
    assert figures.widest == ("p", 0)
    (parting,) = partings(found)
    assert parting.margin == pytest.approx(1.9)
    assert margin(Place(0, reference, Token(3, "x", -0.1))) is None
    assert margin(Place(0, reference, None)) is None


def test_ids_of_alternatives_are_believed_before_their_texts() -> None:
    reference = Token(1, "a", -0.1, {"a": -0.1, "b": -2.0}, {1: -0.1, 2: -2.0, 3: -2.5, 4: -9.0})
    candidate = Token(2, None, -0.6, {}, {2: -0.6, 1: -0.8, 3: -2.6, 4: -1.0})
    figures = measure(followed((reference, candidate)))
    assert figures.max_difference == pytest.approx(0.7)
    assert (figures.others, figures.mean_difference_of_others) == (2, pytest.approx(0.75))
    assert margin(Place(0, reference, candidate)) == pytest.approx(1.9)
    assert margin(Place(0, reference, Token(9, None, -0.1))) is None


def test_what_no_engine_tells_is_not_compared() -> None:
    figures = measure([*followed((Token(1, "a"), Token(1, "a", -1.0))), Followed("q", reason="no")])
    assert (figures.tokens, figures.agreed, figures.differences) == (1, 1, 0)
    assert figures.mean_difference is None
    assert figures.prompts == 1


@given(ids, ids)
def test_the_first_difference_is_the_first(one: list[int], other: list[int]) -> None:
    index = first_difference(one, other)
    if index is None:
        assert one == other
    else:
        assert one[:index] == other[:index]
        assert one[index : index + 1] != other[index : index + 1]


def test_cuts_are_compared_by_ids_where_both_tell_them() -> None:
    reference = {
        "same": PromptTokens(2, (1, 2)),
        "swapped": PromptTokens(2, (1, 2)),
        "shorter": PromptTokens(2, (1, 2)),
        "counts": PromptTokens(2, (1, 2)),
        "recounted": PromptTokens(2, (1, 2)),
        "unknown": PromptTokens(2, (1, 2)),
        "absent": PromptTokens(reason="it is down"),
    }
    found = compare_cuts(
        reference,
        {
            "same": PromptTokens(2, (1, 2)),
            "swapped": PromptTokens(2, (1, 3)),
            "shorter": PromptTokens(1, (1,)),
            "counts": PromptTokens(2),
            "recounted": PromptTokens(3),
            "unknown": PromptTokens(reason="no usage"),
        },
    )
    assert (found.by_ids, found.by_count) == (3, 2)
    assert found.unknown == (("unknown", "no usage"), ("absent", "it was not asked"))
    assert [(each.prompt, each.index, each.reference, each.candidate) for each in found.differences] == [
        ("swapped", 1, 2, 3),
        ("shorter", 1, 2, None),
        ("recounted", None, 2, 3),
    ]


@given(st.lists(st.tuples(ids, ids), max_size=5))
def test_cuts_of_the_same_ids_differ_nowhere(prompts: list[tuple[list[int], list[int]]]) -> None:
    cuts = {str(number): PromptTokens(len(one), tuple(one)) for number, (one, _) in enumerate(prompts)}
    assert compare_cuts(cuts, cuts).differences == ()
    others = {str(number): PromptTokens(len(other), tuple(other)) for number, (_, other) in enumerate(prompts)}
    differing = sum(one != other for one, other in prompts)
    assert len(compare_cuts(cuts, others).differences) == differing


def test_a_mean_of_nothing_is_nothing() -> None:
    figures = measure([])
    assert figures.mean_difference is None
    assert not math.isnan(figures.tokens)
