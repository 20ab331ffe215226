"""Tool calls in text: what is read as one, and that all else comes out as it went in, however it is cut."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.answers import tool_leaks
from backends.answers.tool_leaks import (
    ARGUMENT_BEGIN,
    CALL_BEGIN,
    CALL_END,
    MARKERS,
    MOST_HELD,
    SECTION_BEGIN,
    SECTION_END,
    LeakedCall,
    LeakScanner,
    Piece,
)

PARIS = '{"city": "Paris"}'
TOOLS = {"get_weather", "search"}


def call(name: str = "get_weather", arguments: str = PARIS, end: str = CALL_END) -> str:
    return f"{CALL_BEGIN}functions.{name}:0{ARGUMENT_BEGIN}{arguments}{end}"


def merged(pieces: list[Piece]) -> list[Piece]:
    """The pieces, with text that came in several put together."""
    whole: list[Piece] = []
    for piece in pieces:
        if isinstance(piece, str) and whole and isinstance(whole[-1], str):
            whole[-1] += piece
        else:
            whole.append(piece)
    return whole


def scan(*texts: str, whole: bool = True) -> tuple[list[Piece], bool]:
    scanner = LeakScanner(TOOLS.__contains__)
    pieces = [piece for text in texts for piece in scanner.feed(text)]
    return merged(pieces + scanner.end(whole=whole)), scanner.seen


WEATHER = LeakedCall("get_weather", PARIS)
NOTHING = LeakedCall("search", "{}")


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        (f"Sure. {SECTION_BEGIN}{call()}{SECTION_END}", ["Sure. ", WEATHER]),
        (f"{SECTION_BEGIN}\n{call()}\n{call('search', '{}')} {SECTION_END} Done.", [WEATHER, NOTHING, " Done."]),
        (call(), [WEATHER]),
        (f"{SECTION_BEGIN}{call()}", [WEATHER]),  # the section has no end
        (call(end=SECTION_END), [WEATHER]),  # the call has none
        (call(end=SECTION_END) + "\n", [WEATHER, "\n"]),
        (call(arguments=f" {PARIS}\n"), [WEATHER]),
        (call() + "and text", [WEATHER, "and text"]),
        (f"{CALL_BEGIN}get_weather{ARGUMENT_BEGIN}{PARIS}{CALL_END}", [WEATHER]),
        # Seen on vLLM and SGLang: one header begun in another.
        (f"{CALL_BEGIN}functions.get{call()}", [WEATHER]),
        # The model began anew in the middle of its arguments.
        (f"{CALL_BEGIN}functions.search:0{ARGUMENT_BEGIN}{{{call()}", None),
    ],
)
def test_a_complete_call_is_read(text: str, pieces: list[Piece] | None) -> None:
    expected = pieces or [f"{CALL_BEGIN}functions.search:0{ARGUMENT_BEGIN}{{", WEATHER]
    assert scan(text, whole=False) == (expected, True)


@pytest.mark.parametrize(
    "text",
    [
        f"{SECTION_BEGIN}{SECTION_END}",
        f"{CALL_END}{SECTION_END}{ARGUMENT_BEGIN}",
        f"{SECTION_BEGIN} and {call('unknown')}{SECTION_END}",
        call("unknown"),
        call(arguments="[1]"),
        call(arguments='{"city": '),
        call(arguments=""),
        call(arguments="[" * 100_000),
        f"{CALL_BEGIN}{'x' * 600}{ARGUMENT_BEGIN}{PARIS}{CALL_END}",
        f"{CALL_BEGIN}functions.get weather:0{ARGUMENT_BEGIN}{PARIS}{CALL_END}",
        f"{SECTION_BEGIN}{CALL_BEGIN}functions.get_weather:0",
        f"{CALL_BEGIN}functions.get_weather:0{ARGUMENT_BEGIN}{PARIS[:-1]}",
    ],
)
def test_what_is_no_complete_call_of_a_tool_stays_text(text: str) -> None:
    assert scan(text) == ([text], True)


@pytest.mark.parametrize("text", ["", "a < b <| c", "<|tool_calls|>", "<|tool_call", "<|im_end|>", "x<"])
def test_what_only_looks_like_a_marker_is_none(text: str) -> None:
    assert scan(text) == ([text] if text else [], False)


def test_a_call_without_its_end_is_one_only_if_the_model_meant_to_stop() -> None:
    text = call(end="")
    assert scan(text, whole=True) == ([WEATHER], True)
    assert scan(text, whole=False) == ([text], True)


def test_text_is_held_back_from_a_possible_marker_on_and_no_further() -> None:
    scanner = LeakScanner(TOOLS.__contains__)
    assert scanner.feed("a <") == ["a "]
    assert scanner.busy
    assert scanner.feed("b> <|tool") == ["<b> "]
    assert scanner.feed("box") == ["<|toolbox"]
    assert not scanner.busy
    assert scanner.feed(CALL_BEGIN[:-2]) == []
    assert scanner.feed("|>functions.get_weather:0") == []
    assert scanner.feed(ARGUMENT_BEGIN + PARIS) == []
    assert [scanner.feed(letter) for letter in CALL_END] == [*[[]] * (len(CALL_END) - 1), [WEATHER]]


def test_what_is_held_back_is_bounded() -> None:
    scanner = LeakScanner(TOOLS.__contains__)
    text = f"{CALL_BEGIN}functions.search:0{ARGUMENT_BEGIN}"
    assert scanner.feed(text) == []
    filler = "x" * 4096
    fed, pieces = text, []
    while not pieces:
        pieces = scanner.feed(filler)
        fed += filler
        assert len(fed) <= MOST_HELD + 2 * len(filler)
    assert merged(pieces) == [fed]


@pytest.mark.parametrize(
    "unit", ["<", "<|tool_call", *MARKERS, f"{CALL_BEGIN}x{ARGUMENT_BEGIN}", " ", f"{call()} ", "x"]
)
@pytest.mark.parametrize("begin", ["", call(), f"{CALL_BEGIN}functions.search:0{ARGUMENT_BEGIN}", SECTION_BEGIN])
@pytest.mark.parametrize("size", [7, 1_000_000])
def test_work_is_linear_in_the_text(monkeypatch: pytest.MonkeyPatch, unit: str, begin: str, size: int) -> None:
    """Eight times the text takes about eight times the work, in small pieces as in one; a square would be 64 times.

    What is counted is the text that is gone over, again for every time that it is gone over again. Up to a limit it may
    be, which a short text does not reach: hence not eight exactly.
    """
    gone_over: list[int] = []
    reading = tool_leaks._Reading

    class Counting(reading):
        def __init__(self, text: str, *arguments: Any, **more: Any) -> None:
            gone_over.append(len(text))
            super().__init__(text, *arguments, **more)

    monkeypatch.setattr(tool_leaks, "_Reading", Counting)

    def work(count: int) -> int:
        scanner, text = LeakScanner(TOOLS.__contains__), begin + unit * count
        gone_over.clear()
        for at in range(0, len(text), size):
            scanner.feed(text[at : at + size])
        scanner.end(whole=True)
        return sum(gone_over)

    assert work(480) <= 16 * work(60) + 1_000


FRAGMENTS = st.sampled_from(
    [
        *MARKERS,
        "functions.get_weather:0",
        "search:1",
        "unknown",
        PARIS,
        "{",
        "}",
        "{}",
        " ",
        "\n",
        "text",
        "<",
        "<|",
        "|>",
    ]
)


@given(st.lists(FRAGMENTS, max_size=24), st.data())
def test_how_the_text_is_cut_does_not_matter_and_nothing_is_lost(fragments: list[str], data: st.DataObject) -> None:
    text = "".join(fragments)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=12)))
    parts = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    pieces, seen = scan(*parts)
    assert (pieces, seen) == scan(text)
    assert seen == any(marker in text for marker in MARKERS)
    # Text comes out in order and whole, but for calls with their markers, and blanks beside them.
    at = 0
    for piece in pieces:
        if isinstance(piece, str):
            found = text.find(piece, at)
            assert found >= 0
            at = found + len(piece)
        else:
            at = text.index(piece.arguments, at) + len(piece.arguments)
    if not any(isinstance(piece, LeakedCall) for piece in pieces):
        assert "".join(map(str, pieces)) == text


WORDS = st.text(st.characters(exclude_characters="<", exclude_categories=("Cs",)), max_size=6)
CALLS = st.sampled_from([("get_weather", PARIS), ("search", "{}"), ("search", '{"q":"|> <x"}')])


@given(st.lists(st.tuples(WORDS, st.lists(CALLS, min_size=1, max_size=3), st.booleans()), max_size=4), WORDS)
def test_every_complete_call_is_found_between_its_texts(
    sections: list[tuple[str, list[tuple[str, str]], bool]], tail: str
) -> None:
    """By construction: texts and calls in turn, with and without the section's end."""
    text, expected = "", list[Piece]()
    open_section = False
    for words, calls, ends in [*sections, (tail, [], False)]:
        # Blanks behind a call whose section has no end are taken for the blanks between calls.
        if words and (words.strip() or not open_section):
            expected.append(words)
        text += words
        if calls:
            text += SECTION_BEGIN + "".join(call(*each) for each in calls) + (SECTION_END if ends else "")
            expected += [LeakedCall(*each) for each in calls]
            open_section = not ends
    assert scan(text)[0] == expected
