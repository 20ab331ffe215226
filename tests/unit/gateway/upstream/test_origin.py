"""URLs in, origins out; and what is refused."""

from __future__ import annotations

import pytest

from gateway.upstream import Origin, Timeouts


@pytest.mark.parametrize(
    ("url", "origin", "base_path"),
    [
        ("http://127.0.0.1:8031", Origin("http", "127.0.0.1", 8031), ""),
        ("http://127.0.0.1:8031/", Origin("http", "127.0.0.1", 8031), ""),
        ("http://engine", Origin("http", "engine", 80), ""),
        ("https://engine", Origin("https", "engine", 443), ""),
        ("HTTPS://Engine.Example/v1/", Origin("https", "engine.example", 443), "/v1"),
        ("http://engine_1:80/a/b%20c", Origin("http", "engine_1", 80), "/a/b%20c"),
        ("http://[::1]:9000/x", Origin("http", "::1", 9000), "/x"),
    ],
)
def test_parse(url: str, origin: Origin, base_path: str) -> None:
    assert Origin.parse(url) == (origin, base_path)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "http:// or https://"),
        ("engine:8000", "http:// or https://"),
        ("ftp://engine", "http:// or https://"),
        ("http://", "names no host"),
        ("http://:80", "names no host"),
        ("http://engine:0", "between 1 and 65535"),
        ("http://engine:65536", "not a URL"),
        ("http://engine:http", "not a URL"),
        ("http://user:secret@engine", "credentials"),
        ("http://@engine", "credentials"),
        ("http://engine/?", "query or a fragment"),
        ("http://engine/v1?x=1", "query or a fragment"),
        ("http://engine/#part", "query or a fragment"),
        ("http://engine/a b", "space"),
        ("http://engine/ü", "non-ASCII"),
        ("http://en gine/", "not a host name"),
        ("http://engine-/", "not a host name"),
        ("http://mötör/", "not a host name"),
        ("http://[::1", "not a URL"),
        ("http://[fe80::1%25eth0]/", "IPv6"),
    ],
)
def test_refused(url: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        Origin.parse(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("host", ["a\r\nb", "a\0", "", "a/b", "::1::", "fe80::1%eth0"])
def test_no_origin_with_a_host_that_would_break_the_host_header(host: str) -> None:
    with pytest.raises(ValueError, match=r"not a host name|IPv6"):
        Origin("http", host, 80)


@pytest.mark.parametrize(
    ("origin", "label", "host_header"),
    [
        (Origin("http", "engine", 80), "engine:80", b"engine"),
        (Origin("https", "engine", 80), "engine:80", b"engine:80"),
        (Origin("https", "::1", 443), "[::1]:443", b"[::1]"),
        (Origin("http", "::1", 8000), "[::1]:8000", b"[::1]:8000"),
    ],
)
def test_how_an_origin_is_written(origin: Origin, label: str, host_header: bytes) -> None:
    assert (origin.label, origin.host_header) == (label, host_header)


@pytest.mark.parametrize("name", ["connect_seconds", "first_byte_seconds", "idle_seconds"])
def test_a_timeout_of_nothing_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="more than 0"):
        Timeouts(**{name: 0.0})
