"""Which tokens open the door and which do not, by the signatures of a real issuer and by those of people who would like to be."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from gateway.errors import Unauthenticated
from plugins.oidc.authenticator import EXPIRED, MAX_TOKEN_BYTES, REFUSAL
from tests.support.oidc_issuer import Issuer
from tests.unit.plugins.oidc.conftest import Door


def encoded(part: Any) -> bytes:
    """A part of a token."""
    content = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(content).rstrip(b"=")


def claims_of(token: str) -> Any:
    """What a token says, whoever signed it."""
    return jwt.decode(token, options={"verify_signature": False})


def refused(door: Door, token: str | bytes, message: str = REFUSAL) -> Unauthenticated:
    """The error; the client reads no more than the message."""
    with pytest.raises(Unauthenticated) as caught:
        door.enter(token)
    assert caught.value.public_message == message
    return caught.value


@pytest.mark.parametrize("alg", ["RS256", "ES256", "EdDSA"])
async def test_a_good_token_opens(issuer: Issuer, door: Door, alg: str) -> None:
    principal = door.enter(issuer.token(alg=alg))
    assert (principal.tenant, principal.team, principal.key_name) == ("acme", None, "alice")
    assert principal.scopes == {"inference"}
    assert principal.key_id == "oidc-" + hashlib.sha256(f"{issuer.url}\nalice".encode()).hexdigest()[:20]


@pytest.mark.parametrize("audience", ["moegate", ["other", "moegate"]])
async def test_the_audience_may_be_one_of_several(issuer: Issuer, door: Door, audience: Any) -> None:
    assert door.enter(issuer.token(aud=audience)).tenant == "acme"


@pytest.mark.parametrize("typ", ["JWT", "at+jwt", "application/at+jwt"])
async def test_types_of_access_tokens(issuer: Issuer, door: Door, typ: str) -> None:
    assert door.enter(issuer.token(headers={"typ": typ})).tenant == "acme"


@pytest.mark.parametrize(
    "wrong",
    [
        {"aud": "somebody-else"},
        {"aud": ["somebody", "else"]},
        {"aud": {"moegate": True}},
        {"aud": ""},
        {"without": "aud"},
        {"without": "exp"},
        {"without": "sub"},
        {"sub": ""},
        {"exp": "tomorrow"},
        {"exp": True},
        {"exp": None},
        {"nbf": "yesterday"},
        {"headers": {"typ": "logout+jwt"}},
        {"headers": {"crit": ["exp"]}},
        {"headers": {"kid": ""}},
    ],
    ids=str,
)
async def test_a_signed_token_that_is_not_for_us(issuer: Issuer, door: Door, wrong: dict[str, Any]) -> None:
    refused(door, issuer.token(**wrong))


async def test_a_number_beyond_all_numbers_is_refused(issuer: Issuer, door: Door) -> None:
    refused(door, issuer.token(exp=10**400))


async def test_a_token_ends_after_the_leeway(issuer: Issuer, door: Door) -> None:
    token = issuer.token(exp=int(door.clock.now) + 100)
    for later in (0, 129):
        door.clock.now += later
        assert door.enter(token).tenant == "acme"
    door.clock.now += 2
    refused(door, token, EXPIRED)
    fresh = issuer.token(exp=int(door.clock.now) - 31)
    refused(door, fresh, EXPIRED)


async def test_a_token_begins_before_the_leeway(issuer: Issuer, door: Door) -> None:
    token = issuer.token(nbf=int(door.clock.now) + 100)
    refused(door, token)
    door.clock.now += 71
    assert door.enter(token).tenant == "acme"


async def test_another_issuer_s_token_is_left_to_others(issuer: Issuer, door: Door) -> None:
    assert door.enter(issuer.token(iss="https://elsewhere.example")) is None
    assert door.enter(issuer.token(iss=issuer.url + "/")) is None
    assert door.enter(issuer.token(without="iss")) is None


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"mg-a1b2c3d4e5f6-" + b"s" * 43,
        b"a.b",
        b"a.b.c",
        b"a.b.c.d",
        b"..",
        b"\xff.\xfe.\xfd",
        encoded(b"[" * 4000) + b"." + encoded({"iss": "x"}) + b".",
        encoded([]) + b"." + encoded([]) + b".",
        encoded({"alg": 7}) + b"." + encoded({"iss": "x"}) + b".",
    ],
    ids=lambda sent: repr(sent[:20]),
)
async def test_what_is_no_token_is_left_to_others(door: Door, sent: bytes) -> None:
    assert door.enter(sent) is None


async def test_a_token_that_nests_without_end_is_no_token(issuer: Issuer, door: Door) -> None:
    """Its parts are read before its signature is checked."""
    token = issuer.token().encode().split(b".")
    deep = b'{"iss":"' + issuer.url.encode() + b'","deep":' + b"[" * 5000 + b"]" * 5000 + b"}"
    assert len(encoded(deep)) < MAX_TOKEN_BYTES
    sent = b".".join([token[0], encoded(deep), token[2]])
    assert door.enter(sent) is None


async def test_an_endless_token_is_not_looked_at(issuer: Issuer, door: Door) -> None:
    assert door.enter(issuer.token(padding="x" * MAX_TOKEN_BYTES)) is None


async def test_only_bearers_are_looked_at(issuer: Issuer, door: Door) -> None:
    token = issuer.token().encode()
    assert door.oidc.authenticate({}) is None
    assert door.oidc.authenticate({b"x-api-key": token}) is None
    assert door.oidc.authenticate({b"authorization": b"Basic " + token}) is None
    assert door.oidc.authenticate({b"authorization": b"bearer  " + token}).tenant == "acme"


async def test_none_is_no_algorithm(issuer: Issuer, door: Door) -> None:
    good = issuer.token()
    kid = jwt.get_unverified_header(good)["kid"]
    for alg in ("none", "None", "NONE", ""):
        head = encoded({"alg": alg, "kid": kid})
        for end in (b"", good.encode().rpartition(b".")[2]):
            refused(door, head + b"." + encoded(claims_of(good)) + b"." + end)


@pytest.mark.parametrize("kind", ["RS256", "ES256", "EdDSA"])
async def test_a_public_key_is_no_shared_secret(issuer: Issuer, door: Door, kind: str) -> None:
    """The classic confusion: signed with HMAC, by the public key that everybody has."""
    good = issuer.token(alg=kind)
    kid = jwt.get_unverified_header(good)["kid"]
    published = next(entry for entry in issuer.listed if entry["kid"] == kid)
    public = jwt.PyJWK(published).key
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    secrets = [
        public.public_bytes(serialization.Encoding.PEM, form),
        public.public_bytes(serialization.Encoding.DER, form),
        json.dumps(published).encode(),
    ]
    signed = encoded({"alg": "HS256", "kid": kid, "typ": "JWT"}) + b"." + encoded(claims_of(good))
    for secret in secrets:
        refused(door, signed + b"." + encoded(hmac.digest(secret, signed, "sha256")))


async def test_a_key_signs_in_one_way_only(issuer: Issuer, door: Door) -> None:
    """Another's algorithm in the head, or another hash with the same key."""
    good = issuer.token(alg="RS256")
    kid = jwt.get_unverified_header(good)["kid"]
    for alg in ("ES256", "EdDSA", "PS256", "RS512", "RS384"):
        head = encoded({"alg": alg, "kid": kid})
        refused(door, b".".join([head, *good.encode().split(b".")[1:]]))


async def test_an_algorithm_can_be_switched_off(issuer: Issuer, make_door: Any) -> None:
    door = await make_door(algorithms=["ES256"])
    assert door.enter(issuer.token(alg="ES256")).tenant == "acme"
    refused(door, issuer.token(alg="RS256"))
    refused(door, issuer.token(alg="EdDSA"))


async def test_a_key_of_one_s_own_in_the_head_does_not_help(issuer: Issuer, door: Door) -> None:
    mine = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    good = issuer.token(alg="RS256")
    kid = jwt.get_unverified_header(good)["kid"]
    published = jwt.algorithms.RSAAlgorithm.to_jwk(mine.public_key(), as_dict=True)
    for headers in ({"kid": kid}, {"kid": kid, "jwk": published}, {"kid": kid, "jku": "http://127.0.0.1:9/keys"}):
        refused(door, jwt.encode(claims_of(good), mine, algorithm="RS256", headers=headers))


async def test_a_changed_token_is_refused(issuer: Issuer, door: Door) -> None:
    head, payload, signature = issuer.token().encode().split(b".")
    claims = json.loads(base64.urlsafe_b64decode(payload + b"=="))
    refused(door, b".".join([head, encoded({**claims, "tenant": "rival"}), signature]))
    refused(door, b".".join([head, payload, signature[:-4] + b"AAAA"]))
    refused(door, b".".join([head, payload, b""]))
