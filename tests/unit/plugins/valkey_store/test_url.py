from __future__ import annotations

import pytest

from gateway.errors import ConfigError
from plugins.valkey_store.url import read_url


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("valkey://host", ("host", 6379, None, None, 0)),
        ("redis://:pa%40ss@host:7000/3", ("host", 7000, None, "pa@ss", 3)),
        ("valkey://user:pass@[::1]:7000", ("::1", 7000, "user", "pass", 0)),
    ],
)
def test_what_a_url_says(text: str, expected: tuple[object, ...]) -> None:
    url = read_url(text)
    password = url.password.reveal() if url.password is not None else None
    assert (url.host, url.port, url.username, password, url.database) == expected
    assert url.tls is None


@pytest.mark.parametrize("scheme", ["valkeys", "rediss"])
def test_tls_looks_at_certificates(scheme: str) -> None:
    tls = read_url(f"{scheme}://host").tls
    assert tls is not None
    assert tls.check_hostname


def test_what_stands_behind_the_question_mark() -> None:
    url = read_url("valkey://host?prefix=staging&lease_seconds=2.5")
    assert (url.prefix, url.lease_seconds) == ("staging", 2.5)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("http://:hush@host", "of the form"),
        ("valkey://:hush@", "of the form"),
        ("valkey://:hush@host:port", "of the form"),
        ("valkey://:hush@[host", "of the form"),
        ("valkey://:hu#sh@host", "of the form"),
        ("valkey://:hush@host/first", "number of a database"),
        ("valkey://:hush@host?timeout=3", "parameter other than"),
        ("valkey://:hush@host?prefix=a%7Bb", "prefix"),
        ("valkey://:hush@host?lease_seconds=0", "from 1 to 3600"),
        ("valkey://:hush@host?lease_seconds=nan", "from 1 to 3600"),
        ("valkey://:hush@host?ca_file=/tmp/x", "ca_file"),
        ("valkeys://:hush@host?ca_file=/nowhere/hush.pem", "ca_file"),
    ],
)
def test_a_url_that_cannot_be_used(text: str, match: str) -> None:
    with pytest.raises(ConfigError, match=match) as caught:
        read_url(text)
    assert ":hush" not in str(caught.value)
    assert "/nowhere" not in str(caught.value)
