from __future__ import annotations

import hashlib
import hmac
from typing import Any

import pytest

from gateway import Authenticator, Principal, Scope, Secret
from gateway.contracts.keys import NOBODY, KeyParts, generate_key
from gateway.errors import ConfigError, Unauthenticated
from plugins.api_keys.authenticator import ApiKeysSettings, KeySettings, build

SECRET = "s3cret-" + "x" * 40
KEY = f"mg-abcd1234-{SECRET}"
OTHER = generate_key()
NO_CONTEXT: Any = None


def keys(*given: tuple[str, str]) -> Authenticator:
    settings = [KeySettings(name=name, tenant="t", team="team", secret=Secret(key)) for name, key in given]
    return build(ApiKeysSettings(keys=settings), NO_CONTEXT)


@pytest.fixture
def known() -> Authenticator:
    return keys(("demo", KEY), ("other", OTHER))


@pytest.mark.parametrize(
    "headers",
    [
        {b"authorization": b"Bearer " + KEY.encode()},
        {b"authorization": b"bearer " + KEY.encode()},
        {b"authorization": b"BEARER  " + KEY.encode() + b" "},
        {b"x-api-key": KEY.encode()},
        {b"api-key": KEY.encode()},
        {b"authorization": b"Basic xyz", b"x-api-key": KEY.encode()},
        {b"x-api-key": KEY.encode(), b"api-key": b"something else"},
    ],
)
def test_a_key_is_known_in_every_form_in_which_it_is_sent(known: Authenticator, headers: dict[bytes, bytes]) -> None:
    assert known.authenticate(headers) == Principal("abcd1234", "demo", "t", "team")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {b"authorization": b""},
        {b"authorization": b"Bearer"},
        {b"authorization": b"Bearer "},
        {b"authorization": b"Basic " + KEY.encode()},
        {b"authorization": b"Bearer sk-somebody-else-s"},
        {b"authorization": b"Bearer mg-short"},
        {b"authorization": b"Bearer " + KEY.encode() + b"\xff"},
        {b"x-api-key": b""},
        {b"api-key": b"mg-ABCD1234-" + SECRET.encode()},
        {b"cookie": KEY.encode()},
    ],
)
def test_what_is_no_key_of_our_form_is_left_to_the_next(known: Authenticator, headers: dict[bytes, bytes]) -> None:
    assert known.authenticate(headers) is None


@pytest.mark.parametrize("key", [f"mg-abcd1234-{'y' * 40}", KEY[:-1] + "y", KEY + "x", f"mg-nobody00-{SECRET}"])
def test_a_key_of_our_form_that_nobody_has_is_refused_alike(known: Authenticator, key: str) -> None:
    with pytest.raises(Unauthenticated) as caught:
        known.authenticate({b"x-api-key": key.encode()})
    assert caught.value.message == "This API key is not valid."


@pytest.mark.parametrize("public_id", ["abcd1234", "nobody00"])
def test_an_unknown_id_takes_the_same_way_as_a_wrong_secret(
    known: Authenticator, public_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both hash what was sent and compare it once in constant time: neither is told apart by how long it takes."""
    compared: list[tuple[int, int]] = []
    really = hmac.compare_digest

    def compare(left: bytes, right: bytes) -> bool:
        compared.append((len(left), len(right)))
        return really(left, right)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    with pytest.raises(Unauthenticated):
        known.authenticate({b"x-api-key": f"mg-{public_id}-{'y' * 40}".encode()})
    size = hashlib.sha256().digest_size
    assert compared == [(size, size)]


def test_even_text_with_nobody_s_hash_would_open_nothing(known: Authenticator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(KeyParts, "digest", NOBODY)
    with pytest.raises(Unauthenticated):
        known.authenticate({b"x-api-key": f"mg-nobody00-{SECRET}".encode()})


def test_nothing_shows_a_secret(known: Authenticator) -> None:
    settings = KeySettings(name="demo", tenant="t", secret=Secret(KEY))
    everything = f"{known!r} {vars(known)!r} {settings!r} {known.authenticate({b'x-api-key': KEY.encode()})!r}"
    assert SECRET not in everything
    assert "abcd1234" in everything


def test_every_faulty_key_is_named_and_none_is_shown() -> None:
    faulty = [("one", "mg-short"), ("two", "sk-" + SECRET), ("fine", KEY), ("three", f"mg-abcd1234-{'z' * 40}")]
    with pytest.raises(ConfigError) as caught:
        keys(*faulty)
    assert [problem.partition("key ")[2].split("'")[1] for problem in caught.value.problems] == ["one", "two", "three"]
    assert not any(part in caught.value.message for part in (SECRET, "mg-short", "zzz"))


def test_a_key_holds_the_scope_to_ask_engines(known: Authenticator) -> None:
    principal = known.authenticate({b"x-api-key": KEY.encode()})
    assert principal is not None
    assert principal.scopes == frozenset({"inference"})


def test_a_key_may_be_given_more_scopes() -> None:
    given = KeySettings(name="ops", tenant="t", secret=Secret(KEY), scopes=[Scope.ADMIN_READ, Scope.PIN])
    principal = build(ApiKeysSettings(keys=[given]), NO_CONTEXT).authenticate({b"x-api-key": KEY.encode()})
    assert principal is not None
    assert principal.scopes == {"admin:read", "pin"}
