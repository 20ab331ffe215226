"""The issuer's keys: rotation, outage, nonsense; what was valid stays so no longer than its key."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from gateway.errors import Unauthenticated
from plugins.oidc.authenticator import KeysUnknown
from plugins.oidc.fetching import FetchFailed
from plugins.oidc.jwks import KeySet, NoKeys, read_keys
from plugins.oidc.source import KeySource
from tests.support.oidc_issuer import Issuer, oidc_issuer
from tests.unit.plugins.oidc.conftest import Door
from tests.unit.virtual_time import VirtualTimeLoop


async def test_an_unknown_key_is_refused_and_asked_for(issuer: Issuer, door: Door) -> None:
    old = issuer.token()
    issuer.rotate()
    new = issuer.token()
    before = issuer.fetches
    with pytest.raises(Unauthenticated) as caught:
        door.enter(new)
    assert caught.value.retry_after_seconds == 5
    assert issuer.fetches == before
    assert await door.source.refresh()
    assert door.enter(new).tenant == door.enter(old).tenant == "acme"


async def test_a_withdrawn_key_ends_what_it_signed(issuer: Issuer, door: Door) -> None:
    """Also what was found valid with it, and is remembered."""
    token = issuer.token()
    assert door.enter(token).tenant == "acme"
    issuer.rotate(keep=False)
    assert door.enter(token).tenant == "acme"
    assert await door.source.refresh()
    with pytest.raises(Unauthenticated):
        door.enter(token)


async def test_a_key_that_changed_under_its_name_ends_what_it_signed(issuer: Issuer, door: Door) -> None:
    token = issuer.token(alg="ES256")
    assert door.enter(token).tenant == "acme"
    other = ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()).public_key(), as_dict=True)
    issuer.behave(listed=[{**entry, **(other if entry["kty"] == "EC" else {})} for entry in issuer.listed])
    assert await door.source.refresh()
    with pytest.raises(Unauthenticated):
        door.enter(token)


async def test_an_outage_of_the_issuer_is_not_noticed_until_the_keys_are_stale() -> None:
    with oidc_issuer() as issuer:
        door = Door(issuer, stale_seconds=600)
        with pytest.raises(KeysUnknown) as unknown:
            door.enter(token := issuer.token())
        assert (unknown.value.status, unknown.value.public_message) == (503, "Tokens cannot be checked now.")
        assert await door.source.refresh()
        seen, unseen = token, issuer.token(sub="bob")
        assert door.enter(seen).tenant == "acme"
        issuer.kill()
        assert not await door.source.refresh()
        door.monotonic.now += 599
        assert door.enter(seen).tenant == door.enter(unseen).tenant == "acme"
        door.monotonic.now += 2
        for token in (seen, unseen):
            with pytest.raises(KeysUnknown):
                door.enter(token)
        issuer.start()
        assert await door.source.refresh()
        assert door.enter(issuer.token()).tenant == "acme"
        with pytest.raises(Unauthenticated):
            door.enter(seen)


@pytest.mark.parametrize(
    "nonsense", [{"status": 500}, {"status": 302}, {"listed": []}, {"listed": "all"}, {"listed": [7]}]
)
async def test_nonsense_of_the_issuer_changes_nothing(issuer: Issuer, door: Door, nonsense: dict[str, Any]) -> None:
    token = issuer.token()
    issuer.behave(**nonsense)
    assert not await door.source.refresh()
    assert door.enter(token).tenant == "acme"


async def test_an_endless_answer_is_cut_off(issuer: Issuer, door: Door) -> None:
    issuer.behave(listed=[{"padding": "x" * 2_000_000}])
    assert not await door.source.refresh()


async def test_the_configuration_of_another_issuer_is_not_taken(issuer: Issuer) -> None:
    door = Door(issuer, issuer=issuer.url.replace("127.0.0.1", "localhost"))
    assert not await door.source.refresh()
    assert issuer.listed
    door = Door(issuer, issuer=issuer.url.replace("127.0.0.1", "localhost"), jwks_url=f"{issuer.url}/keys")
    assert await door.source.refresh()


async def test_the_remembered_tokens_are_bounded(issuer: Issuer, make_door: Any) -> None:
    door = await make_door(cached_tokens=2)
    tokens = [issuer.token(sub=name) for name in ("a", "b", "c")]
    principals = [door.enter(token) for token in tokens]
    assert door.enter(tokens[2]) is principals[2]
    assert door.enter(tokens[1]) is principals[1]
    assert door.enter(tokens[0]) is not principals[0]
    assert door.enter(tokens[2]) is not principals[2]


def entry(public: Any, algorithm: Any, **more: Any) -> dict[str, Any]:
    """A key as published."""
    return {**algorithm.to_jwk(public, as_dict=True), "kid": "k", **more}


def test_keys_that_are_of_no_use_are_left_out() -> None:
    good = entry(ed25519.Ed25519PrivateKey.generate().public_key(), OKPAlgorithm)
    strong = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    assert list(read_keys({"keys": [good]}).keys) == ["k"]
    useless = [
        {**good, "kid": None},
        {**good, "kid": ""},
        {**good, "use": "enc"},
        {**good, "key_ops": ["sign"]},
        {**good, "alg": "ES256"},
        {**good, "crv": "Ed448"},
        {**good, "crv": ["Ed25519"]},
        {**good, "x": "short"},
        {**good, "x": 7},
        {**good, "kty": "oct", "k": "c2VjcmV0"},
        {"kty": "oct", "k": "c2VjcmV0", "kid": "k", "alg": "HS256"},
        entry(strong, RSAAlgorithm),
        entry(strong.public_key(), RSAAlgorithm, alg="RS512"),
        entry(rsa.generate_private_key(public_exponent=65537, key_size=1024).public_key(), RSAAlgorithm),
        entry(ec.generate_private_key(ec.SECP384R1()).public_key(), ECAlgorithm),
        "not a key",
    ]
    for one in useless:
        with pytest.raises(NoKeys, match="no key"):
            read_keys({"keys": [one]})
    assert list(read_keys({"keys": [*useless, good]}).keys) == ["k"]


@pytest.mark.parametrize("document", [None, [], {}, {"keys": {}}, {"keys": [{}] * 65}])
def test_what_is_no_key_set(document: Any) -> None:
    with pytest.raises(NoKeys):
        read_keys(document)


def test_two_keys_of_one_name_are_refused() -> None:
    keys = [entry(ed25519.Ed25519PrivateKey.generate().public_key(), OKPAlgorithm) for _ in range(2)]
    with pytest.raises(NoKeys, match="two keys"):
        read_keys({"keys": keys})


class Told:
    """Stands for the fetcher; notes when it was asked."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.times: list[float] = []
        self.failing = False
        self._loop = loop
        self._begun = loop.time()

    async def __call__(self) -> KeySet:
        self.times.append(round(self._loop.time() - self._begun))
        if self.failing:
            raise FetchFailed("down")
        return KeySet({}, {})


async def seconds_pass(seconds: float) -> None:
    """No real ones."""
    await asyncio.sleep(seconds)  # on the virtual clock


def test_when_keys_are_fetched() -> None:
    """By time; sooner where a token names an unknown key, but never more often than each five seconds."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(_when_keys_are_fetched())


async def _when_keys_are_fetched() -> None:
    told = Told(asyncio.get_running_loop())
    source = KeySource("https://login.example.com", told)
    task = asyncio.create_task(source.keep_fresh(300))
    await seconds_pass(601)
    assert told.times == [0, 300, 600]
    for _ in range(1000):
        source.want()
    await seconds_pass(10)
    assert told.times == [0, 300, 600, 605]
    source.want()
    await seconds_pass(1)
    assert told.times[4:] == [611]
    told.failing = True
    await seconds_pass(300)
    assert told.times[5:] == [911]
    await seconds_pass(64)
    assert told.times[6:] == [912, 914, 918, 926, 942, 972]
    told.failing = False
    await seconds_pass(330)
    assert told.times[12:] == [1002, 1302]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_it_is_not_ready_before_the_issuer_has_told_its_keys_and_stays_so_in_an_outage() -> None:
    with oidc_issuer() as issuer:
        door = Door(issuer)
        assert door.oidc.not_ready == "The issuer's keys have not been fetched yet."
        assert [dict(metric.samples) for metric in door.oidc.metrics()] == [{}]
        assert await door.source.refresh()
        assert door.oidc.not_ready is None
        door.monotonic.now += 7
        assert [dict(metric.samples) for metric in door.oidc.metrics()] == [{(): pytest.approx(7)}]
        issuer.kill()
        assert not await door.source.refresh()
        assert door.oidc.not_ready is None
