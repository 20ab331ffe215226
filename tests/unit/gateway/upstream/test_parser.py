"""Bytes to responses without a socket: every shape, split anywhere; everything malformed; nothing without bound."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import UpstreamBroken
from gateway.upstream.parser import ResponseParser
from tests.unit.gateway.upstream.samples import EVENT, LAST_CHUNK, SAMPLES, STREAM_HEAD, Sample, chunk

HEAD_LIMIT_BYTES = 1024


def parser_fed(*pieces: bytes, bodiless: bool = False) -> ResponseParser:
    parser = ResponseParser(HEAD_LIMIT_BYTES)
    parser.expect(bodiless=bodiless)
    for piece in pieces:
        parser.feed(piece)
    return parser


def check(sample: Sample, parser: ResponseParser) -> None:
    assert parser.complete is not sample.until_close
    if sample.until_close:
        parser.feed_eof()
    assert parser.complete
    assert parser.status == sample.status
    assert parser.headers == sample.headers
    assert parser.take() == sample.body
    assert parser.take() == b""
    assert parser.keep_alive is sample.keep_alive


def feed_for_ever(parser: ResponseParser, drip: bytes) -> None:
    fed_bytes = 0
    with pytest.raises(UpstreamBroken, match="more than 1024 bytes"):  # noqa: PT012 - one of many feeds raises
        while True:
            parser.feed(drip)
            fed_bytes += len(drip)
    assert fed_bytes <= HEAD_LIMIT_BYTES


each_sample = pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)


@each_sample
def test_whole(sample: Sample) -> None:
    check(sample, parser_fed(sample.wire))


@each_sample
def test_byte_by_byte(sample: Sample) -> None:
    check(sample, parser_fed(*(sample.wire[i : i + 1] for i in range(len(sample.wire)))))


@each_sample
def test_split_in_two_at_every_byte(sample: Sample) -> None:
    for cut in range(1, len(sample.wire)):
        check(sample, parser_fed(sample.wire[:cut], sample.wire[cut:]))


@given(sample=st.sampled_from(SAMPLES), cuts=st.lists(st.integers(0, 200), max_size=12))
def test_split_anywhere(sample: Sample, cuts: list[int]) -> None:
    edges = sorted({0, *(cut for cut in cuts if cut < len(sample.wire)), len(sample.wire)})
    check(sample, parser_fed(*(sample.wire[a:b] for a, b in pairwise(edges))))


def test_one_parser_reads_one_response_after_another() -> None:
    parser = ResponseParser(HEAD_LIMIT_BYTES)
    for sample in SAMPLES:
        if sample.keep_alive:
            parser.expect()
            parser.feed(sample.wire)
            check(sample, parser)


def test_a_read_is_handed_out_as_it_came_and_several_are_joined() -> None:
    parser = parser_fed(STREAM_HEAD)
    parser.feed(chunk(EVENT))
    assert parser.take() == EVENT
    parser.feed(chunk(b"a") + chunk(b"b"))
    parser.feed(chunk(b"c"))
    assert parser.buffered == 3
    assert parser.take() == b"abc"
    assert parser.buffered == 0


def test_an_answer_to_head_has_no_body_and_costs_the_connection() -> None:
    parser = parser_fed(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", bodiless=True)
    assert (parser.complete, parser.status, parser.take(), parser.keep_alive) == (True, 200, b"", False)


@pytest.mark.parametrize(
    "surplus",
    [b"x", b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecond", b"HTTP/1.1 100 Continue\r\n\r\n", b"\0" * 4096],
)
def test_surplus_costs_the_connection_not_the_response(surplus: bytes) -> None:
    sample = SAMPLES[0]
    parser = parser_fed(sample.wire + surplus)
    assert (parser.complete, parser.headers, parser.take()) == (True, sample.headers, sample.body)
    assert not parser.keep_alive


@pytest.mark.parametrize(
    "wire",
    [
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        b"HTTP/1.2 200 OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 099 Low\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 600 High\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nxyz",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding:\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nX: a\r\n folded\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 0\r\n\r\n",
        STREAM_HEAD + b"fffffffffffffffff\r\nabc",
        STREAM_HEAD + b"3\r\nabcd\r\n",
        STREAM_HEAD + b"zz\r\nabc\r\n",
        STREAM_HEAD + b"-3\r\nabc\r\n",
    ],
)
def test_malformed(wire: bytes) -> None:
    with pytest.raises(UpstreamBroken, match="malformed"):
        parser_fed(wire)
    with pytest.raises(UpstreamBroken, match="malformed"):
        parser_fed(*(wire[i : i + 1] for i in range(len(wire))))


def test_what_came_before_the_fault_can_be_taken() -> None:
    parser = parser_fed(STREAM_HEAD)
    with pytest.raises(UpstreamBroken):
        parser.feed(chunk(EVENT) + b"zz\r\n")
    assert parser.take() == EVENT


def test_a_head_that_is_too_long() -> None:
    long_head = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: " + b"x" * HEAD_LIMIT_BYTES + b"\r\n\r\n"
    with pytest.raises(UpstreamBroken, match="head is too long"):
        parser_fed(long_head)
    with pytest.raises(UpstreamBroken, match="head is too long"):
        parser_fed(*(long_head[i : i + 100] for i in range(0, len(long_head), 100)))


def test_a_head_without_end() -> None:
    feed_for_ever(parser_fed(b"HTTP/1.1 200 OK\r\nX: "), b"x")


def test_a_short_head_in_a_long_read_is_no_long_head() -> None:
    body = b"x" * HEAD_LIMIT_BYTES * 4
    parser = parser_fed(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    assert parser.take() == body


def test_interim_responses_without_end() -> None:
    feed_for_ever(parser_fed(), b"HTTP/1.1 100 Continue\r\n\r\n")


@pytest.mark.parametrize(("start", "drip"), [(b"5;x=", b"y"), (b"0\r\nx: ", b"y"), (b"0\r\n", b"a: b\r\n")])
def test_framing_without_end(start: bytes, drip: bytes) -> None:
    feed_for_ever(parser_fed(STREAM_HEAD + chunk(EVENT) + start), drip)


def test_framing_that_comes_apart_from_its_data_adds_up_to_nothing() -> None:
    parser = parser_fed(STREAM_HEAD)
    for _ in range(HEAD_LIMIT_BYTES):
        for piece in (b"1\r\n", b"x", b"\r\n"):
            parser.feed(piece)
        assert parser.take() == b"x"


@pytest.mark.parametrize("cut", range(1, len(STREAM_HEAD + chunk(EVENT) + LAST_CHUNK)))
def test_a_close_in_the_middle(cut: int) -> None:
    parser = parser_fed((STREAM_HEAD + chunk(EVENT) + LAST_CHUNK)[:cut])
    with pytest.raises(UpstreamBroken, match="in the middle"):
        parser.feed_eof()


def test_untouched_until_the_first_byte() -> None:
    parser = parser_fed()
    assert parser.untouched
    parser.feed(b"H")
    assert not parser.untouched


@settings(max_examples=400)
@given(
    sample=st.sampled_from(SAMPLES),
    edits=st.lists(st.tuples(st.integers(0, 200), st.integers(0, 3), st.binary(min_size=1, max_size=4)), max_size=4),
    cut=st.integers(0, 200),
)
def test_mutations_are_read_or_refused_the_same_however_they_are_split(
    sample: Sample, edits: list[tuple[int, int, bytes]], cut: int
) -> None:
    wire = bytearray(sample.wire)
    for at, removed, added in edits:
        wire[at : at + removed] = added

    def outcome(*pieces: bytes) -> tuple[object, ...]:
        parser = ResponseParser(HEAD_LIMIT_BYTES)
        parser.expect()
        try:
            for piece in pieces:
                if not parser.complete:
                    parser.feed(piece)
            parser.feed_eof()
        except UpstreamBroken:
            pass
        return parser.status, parser.headers if parser.head_complete else None, parser.take(), parser.complete

    whole = bytes(wire)
    assert outcome(whole) == outcome(whole[:cut], whole[cut:])
