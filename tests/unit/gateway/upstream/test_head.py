"""What a request's head looks like, and what cannot get into one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.upstream import encode_headers
from gateway.upstream.head import request_head


def test_a_head() -> None:
    fields = encode_headers([(b"accept", b"text/event-stream"), (b"x-empty", b"")])
    assert request_head(b"POST", b"/v1/chat/completions?a=b", b"engine:8000", fields, 17) == (
        b"POST /v1/chat/completions?a=b HTTP/1.1\r\n"
        b"Host: engine:8000\r\n"
        b"accept: text/event-stream\r\n"
        b"x-empty: \r\n"
        b"Content-Length: 17\r\n"
        b"\r\n"
    )


def test_an_empty_post_says_so_and_a_get_says_nothing() -> None:
    assert b"Content-Length: 0\r\n" in request_head(b"POST", b"/", b"engine", b"", 0)
    assert request_head(b"GET", b"/", b"engine", b"", 0) == b"GET / HTTP/1.1\r\nHost: engine\r\n\r\n"


def test_no_headers_are_no_lines() -> None:
    assert encode_headers([]) == b""


@pytest.mark.parametrize("value", [b"a\r\nx: y", b"a\nb", b"a\rb", b"a\0b", b"\r\n", b"\n"])
def test_a_value_cannot_become_another_header(value: bytes) -> None:
    with pytest.raises(ValueError, match="CR, LF or NUL"):
        encode_headers([(b"x-fine", b"fine"), (b"x", value)])


@pytest.mark.parametrize("name", [b"", b"a b", b"a:", b"a\r\nb", b"\xc3\xbc", b"a\0", b"x\n"])
def test_a_name_is_a_token(name: bytes) -> None:
    for _ in range(2):  # A refusal must not be remembered as a success.
        with pytest.raises(ValueError, match="must be a token"):
            encode_headers([(name, b"v")])


@pytest.mark.parametrize("name", [b"Host", b"connection", b"Content-Length", b"transfer-encoding"])
def test_the_framing_is_the_pools(name: bytes) -> None:
    with pytest.raises(ValueError, match="itself"):
        encode_headers([(name, b"1")])


@pytest.mark.parametrize("target", [b"", b"v1", b"/a b", b"/a\r\nx: y", b"/\0", b"http://other/", b"/\x7f", b"/a\n"])
def test_a_target_cannot_break_the_request_line(target: bytes) -> None:
    with pytest.raises(ValueError, match="request target"):
        request_head(b"GET", target, b"engine", b"", 0)


@pytest.mark.parametrize("method", [b"", b"GET /", b"GE\r\nT", b"CONNECT"])
def test_a_method_is_a_token(method: bytes) -> None:
    with pytest.raises(ValueError, match="not a method"):
        request_head(method, b"/", b"engine", b"", 0)


@given(st.lists(st.tuples(st.sampled_from([b"a", b"X-B", b"c-d"]), st.binary(max_size=12)), max_size=5))
def test_every_line_is_one_header_or_nothing_is(headers: list[tuple[bytes, bytes]]) -> None:
    clean = not any(byte in value for _, value in headers for byte in b"\r\n\0")
    if not clean:
        with pytest.raises(ValueError, match="CR, LF or NUL"):
            encode_headers(headers)
        return
    lines = encode_headers(headers).split(b"\r\n")[1:]
    assert [tuple(line.split(b": ", 1)) for line in lines] == headers
