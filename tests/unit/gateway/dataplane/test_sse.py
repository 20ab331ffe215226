from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dataplane import sse
from gateway.dataplane.sse import EventCutter, EventTooLong

LIMIT = 1_000


payloads = st.text(st.characters(exclude_characters="\r\n", exclude_categories=("Cs",)), max_size=12)
line_ends = st.sampled_from(["\n", "\r\n", "\r"])


@st.composite
def events(draw: st.DrawFn, end: str) -> str:
    lines = draw(st.lists(st.tuples(st.sampled_from(["data: ", "data:", ": ", "event: "]), payloads), min_size=1))
    return "".join(f"{name}{value}{end}" for name, value in lines) + end


@st.composite
def streams(draw: st.DrawFn) -> list[bytes]:
    """A stream as its single events; one kind of line end, as every engine has."""
    end = draw(line_ends)
    return [event.encode() for event in draw(st.lists(events(end), max_size=6))]


@st.composite
def packets(draw: st.DrawFn, rest: st.SearchStrategy[str] | None = None) -> tuple[list[bytes], bytes, list[bytes]]:
    """A stream's single events, what is left unfinished at its end, and the packets that it comes in."""
    single = draw(streams())
    unfinished = b"data: " + draw(rest).encode() if rest is not None else b""
    stream = b"".join(single) + unfinished
    cuts = draw(st.sets(st.integers(0, len(stream)), max_size=8))
    at = sorted({*cuts, 0, len(stream)})
    return single, unfinished, [stream[start:end] for start, end in itertools.pairwise(at)]


@given(packets())
def test_any_split_of_a_stream_gives_the_same_events(drawn: tuple[list[bytes], bytes, list[bytes]]) -> None:
    single, _, pieces = drawn
    cutter = EventCutter(LIMIT)
    seen = [cutter.cut(piece) for piece in pieces]
    assert b"".join(seen) == b"".join(single)
    assert [event for cut in seen for event in sse.split(cut)] == single
    assert cutter.pending == b""


@given(packets(payloads))
def test_what_has_no_end_yet_is_kept_back_and_nothing_else(drawn: tuple[list[bytes], bytes, list[bytes]]) -> None:
    single, unfinished, pieces = drawn
    cutter = EventCutter(LIMIT)
    assert b"".join(cutter.cut(piece) for piece in pieces) == b"".join(single)
    assert cutter.pending == unfinished


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 11])
def test_an_event_leaves_as_soon_as_its_last_byte_is_there(end: bytes, size: int) -> None:
    single = [b"data: a" + end * 2, b": b" + end * 2, b"event: c" + end + b"data: d" + end + b"data:" + end * 2]
    stream = b"".join(single)
    ends = list(itertools.accumulate(len(event) for event in single))
    cutter, given_out = EventCutter(LIMIT), 0
    for start in range(0, len(stream), size):
        given_out += len(cutter.cut(stream[start : start + size]))
        assert given_out == max((each for each in ends if each <= start + size), default=0)
    assert given_out == len(stream)


def test_a_packet_that_ends_with_an_event_is_not_copied() -> None:
    packet = b"data: a\n\ndata: b\n\n"
    assert EventCutter(LIMIT).cut(packet) is packet


@pytest.mark.parametrize("sizes", [[11], [10, 1], [1] * 11])
def test_an_event_without_end_is_given_up(sizes: list[int]) -> None:
    cutter = EventCutter(10)
    for size in sizes[:-1]:
        assert cutter.cut(b"x" * size) == b""
    with pytest.raises(EventTooLong):
        cutter.cut(b"x" * sizes[-1])


def test_the_limit_is_for_what_is_kept_back_not_for_a_packet() -> None:
    cutter = EventCutter(10)
    assert cutter.cut(b"data: " + b"x" * 100 + b"\n\n" + b"y" * 10)
    assert cutter.pending == b"y" * 10


def test_an_empty_piece_changes_nothing() -> None:
    cutter = EventCutter(10)
    cutter.cut(b"data: a")
    assert cutter.cut(b"") == b""
    assert cutter.cut(b"\n\n") == b"data: a\n\n"


@pytest.mark.parametrize(
    ("event", "payload"),
    [
        (b"data: a\n\n", b"a"),
        (b"data:a\n\n", b"a"),
        (b"data:  a\n\n", b" a"),
        (b"data: a\r\ndata: b\r\n\r\n", b"a\nb"),
        (b"event: x\rdata: a\r\r", b"a"),
        (b"data: \n\n", b""),
        (b": data: a\n\n", None),
        (b"event: data\n\n", None),
        (b"\n\n", None),
        (b"database: a\n\n", None),
        ("data: \x85\u2028\n\n".encode(), "\x85\u2028".encode()),
    ],
)
def test_the_data_of_an_event(event: bytes, payload: bytes | None) -> None:
    assert sse.data(event) == payload


@given(payloads)
def test_an_event_that_we_write_can_be_read(payload: str) -> None:
    event = sse.event(payload.encode())
    assert list(sse.split(event)) == [event]
    assert sse.data(event) == payload.encode()


def test_events_that_end_at_once_are_split_and_an_unfinished_one_is_kept_whole() -> None:
    assert list(sse.split(b"data: a\n\n\r\n\r\ndata: b")) == [b"data: a\n\n", b"\r\n\r\n", b"data: b"]
    assert list(sse.split(b"")) == []
