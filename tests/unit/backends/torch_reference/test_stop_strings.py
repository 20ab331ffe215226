"""Stop strings in text that comes in pieces."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.torch_reference.engine.stop_strings import StopStrings


def run(stops: tuple[str, ...], *pieces: str) -> tuple[str, bool]:
    watch = StopStrings(stops)
    shown = ""
    for piece in pieces:
        text, stopped = watch.feed(piece)
        shown += text
        if stopped:
            return shown, True
    return shown + watch.finish(), False


@pytest.mark.parametrize(
    ("stops", "pieces", "expected"),
    [
        ((), ["a", "b"], ("ab", False)),
        (("END",), ["one END two"], ("one ", True)),
        (("END",), ["one E", "N", "D two"], ("one ", True)),
        (("END",), ["one EN", "E", "END"], ("one ENE", True)),
        (("END",), ["one E", "N"], ("one EN", False)),
        (("aab",), ["a", "a", "a", "b"], ("a", True)),
        (("x", "yz"), ["ay", "z"], ("a", True)),
        (("\n\n",), ["a\n", "b\n", "\nc"], ("a\nb", True)),
        (("日本",), ["日", "本語"], ("", True)),
    ],
)
def test_text_ends_before_the_stop_string(
    stops: tuple[str, ...], pieces: list[str], expected: tuple[str, bool]
) -> None:
    assert run(stops, *pieces) == expected


def test_a_possible_match_is_held_back_and_no_more_than_that() -> None:
    watch = StopStrings(("STOP",))
    assert watch.feed("go ST") == ("go ", False)
    assert watch.feed("A") == ("STA", False)
    assert watch.feed("ST") == ("", False)
    assert watch.finish() == "ST"


@given(st.text("ab"), st.text("ab", min_size=1, max_size=3))
def test_one_stop_string_is_found_however_the_text_is_cut(text: str, stop: str) -> None:
    cut = text.find(stop)
    expected = (text, False) if cut < 0 else (text[:cut], True)
    assert run((stop,), *text) == run((stop,), text) == expected
