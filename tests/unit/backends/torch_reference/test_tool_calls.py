"""Kimi's tool-call markup, read piece by piece."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.torch_reference.engine.tool_calls import (
    ARGUMENT_BEGIN,
    CALL_BEGIN,
    CALL_END,
    MARKERS,
    SECTION_BEGIN,
    SECTION_END,
    ArgumentsDelta,
    CallStarted,
    ContentDelta,
    ToolCallParser,
    forced_call_text,
)


def call(call_id: str, arguments: str) -> str:
    return f"{CALL_BEGIN}{call_id}{ARGUMENT_BEGIN}{arguments}{CALL_END}"


def section(*calls: str) -> str:
    return SECTION_BEGIN + "".join(calls) + SECTION_END


def read(*pieces: str) -> tuple[str, list[tuple[str, str, str]]]:
    """Return content and calls as (id, name, arguments)."""
    parser = ToolCallParser()
    events = [event for piece in pieces for event in parser.feed(piece)] + parser.finish()
    content = "".join(event.text for event in events if isinstance(event, ContentDelta))
    calls = [(event.id, event.name) for event in events if isinstance(event, CallStarted)]
    texts = [""] * len(calls)
    for event in events:
        if isinstance(event, ArgumentsDelta):
            texts[event.position] += event.text
    return content, [(*start, text) for start, text in zip(calls, texts, strict=True)]


WELL_FORMED = [
    ("plain", "hello", "hello", []),
    (
        "one call",
        section(call("functions.get_weather:0", '{"city":"Oslo"}')),
        "",
        [("functions.get_weather:0", "get_weather", '{"city":"Oslo"}')],
    ),
    (
        "text before and after",
        "Let me see. " + section(call("functions.f:3", "{}")) + " done",
        "Let me see.  done",
        [("functions.f:3", "f", "{}")],
    ),
    (
        "two calls",
        section(call("functions.f:0", "{}"), " \n", call("functions.g:1", '{"a":1}')),
        "",
        [("functions.f:0", "f", "{}"), ("functions.g:1", "g", '{"a":1}')],
    ),
    ("two sections", section(call("f:0", "1")) * 2, "", [("f:0", "f", "1"), ("f:0", "f", "1")]),
    ("id without prefix", section(call("search:2", "{}")), "", [("search:2", "search", "{}")]),
    ("dotted name", section(call("functions.a.b:0", "{}")), "", [("functions.a.b:0", "a.b", "{}")]),
    ("no section", call("functions.f:0", "{}"), "", [("functions.f:0", "f", "{}")]),
    ("no arguments", section(call("functions.f:0", "")), "", [("functions.f:0", "f", "")]),
    ("a bracket in arguments", section(call("f:0", '"<|"')), "", [("f:0", "f", '"<|"')]),
    ("call not closed", SECTION_BEGIN + call("f:0", "{}")[: -len(CALL_END)] + SECTION_END, "", [("f:0", "f", "{}")]),
    (
        "call in a call",
        f"{SECTION_BEGIN}{CALL_BEGIN}f:0{ARGUMENT_BEGIN}1" + call("g:1", "2") + SECTION_END,
        "",
        [("f:0", "f", "1"), ("g:1", "g", "2")],
    ),
]


@pytest.mark.parametrize(
    ("text", "content", "calls"), [case[1:] for case in WELL_FORMED], ids=[c[0] for c in WELL_FORMED]
)
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_calls_are_read_however_the_text_is_cut(
    text: str, content: str, calls: list[tuple[str, str, str]], size: int
) -> None:
    assert read(*[text[start : start + size] for start in range(0, len(text), size)]) == (content, calls)


MALFORMED = {
    "section without call": section(),
    "text in place of a call": section("get_weather Oslo"),
    "id without number": section(call("get_weather", "{}")),
    "id with spaces": section(call("functions.get weather:0", "{}")),
    "arguments without id": section(f"{CALL_BEGIN}{ARGUMENT_BEGIN}{{}}{CALL_END}"),
    "call ends in its id": section(f"{CALL_BEGIN}functions.f:0{CALL_END}"),
    "stray end": f"hello{SECTION_END}",
    "cut in the id": f"{SECTION_BEGIN}{CALL_BEGIN}functions.get_w",
    "cut before a call": SECTION_BEGIN,
    "half a marker": "hello <|tool_call",
}


@pytest.mark.parametrize("text", MALFORMED.values(), ids=MALFORMED.keys())
def test_what_is_no_call_stays_content_to_the_letter(text: str) -> None:
    assert read(*text) == (text, [])


def test_a_sound_call_after_a_broken_one_is_a_call() -> None:
    broken = f"{SECTION_BEGIN}{CALL_BEGIN}functions.get"
    assert read(broken + call("functions.get_weather:0", "{}")) == (
        broken,
        [("functions.get_weather:0", "get_weather", "{}")],
    )


def test_a_call_cut_off_in_its_arguments_is_delivered() -> None:
    assert read(f'{SECTION_BEGIN}{CALL_BEGIN}f:0{ARGUMENT_BEGIN}{{"a') == ("", [("f:0", "f", '{"a')])


def test_id_and_name_come_first_and_arguments_as_they_are_written() -> None:
    parser = ToolCallParser()
    assert parser.feed(SECTION_BEGIN) == []
    assert parser.feed(CALL_BEGIN) == []
    assert parser.feed("functions.f") == []
    assert parser.feed(":0") == []
    assert parser.feed(ARGUMENT_BEGIN) == [CallStarted(0, "functions.f:0", "f")]
    assert parser.feed('{"a"') == [ArgumentsDelta(0, '{"a"')]
    assert parser.feed(":1}") == [ArgumentsDelta(0, ":1}")]
    assert parser.feed(CALL_END) == []
    assert parser.feed(SECTION_END) == []
    assert parser.feed("!") == [ContentDelta("!")]
    assert parser.calls_started == 1


PIECES = st.lists(st.sampled_from([*MARKERS, "functions.f:0", "x:1", "{}", " ", "<", "<|tool_call", "|>", "word"]))


@given(PIECES, st.lists(st.integers(0, 200)))
def test_cutting_the_text_differently_changes_nothing(pieces: list[str], cuts: list[int]) -> None:
    text = "".join(pieces)
    edges = sorted({0, len(text), *[cut for cut in cuts if cut < len(text)]})
    parts = [text[start:end] for start, end in itertools.pairwise(edges)]
    assert read(text) == read(*parts) == read(*text)


@given(PIECES)
def test_no_word_of_the_model_is_lost(pieces: list[str]) -> None:
    text = "".join(pieces)
    content, calls = read(text)
    left = content + "".join(call_id + arguments for call_id, _, arguments in calls)
    for marker in MARKERS:
        text, left = text.replace(marker, ""), left.replace(marker, "")
    assert sorted("".join(text.split())) == sorted("".join(left.split()))


def test_a_forced_call_is_one_that_the_parser_reads() -> None:
    text = forced_call_text("get_weather", 2) + '{"city":"Oslo"}' + CALL_END
    assert read(text) == ("", [("functions.get_weather:2", "get_weather", '{"city":"Oslo"}')])
    assert read(forced_call_text(None, 0) + "functions.f:0" + ARGUMENT_BEGIN + "{}") == (
        "",
        [("functions.f:0", "f", "{}")],
    )
