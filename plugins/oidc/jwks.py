"""An issuer's published keys, as those that can check a token here; a key has one algorithm, whatever a token says."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import jwt
from msgspec import Struct

from plugins.oidc.settings import Algorithm

MAX_KEYS = 64
MIN_RSA_BITS = 2048
MAX_RSA_BITS = 8192

# What a key of a type and curve signs with; keys of any other kind are of no use here.
_ALGORITHMS: Mapping[tuple[str, str | None], Algorithm] = {
    ("RSA", None): Algorithm.RS256,
    ("EC", "P-256"): Algorithm.ES256,
    ("OKP", "Ed25519"): Algorithm.EDDSA,
}


class Key(Struct, frozen=True, eq=False):
    """A public key, and the only algorithm that it is used with."""

    algorithm: Algorithm
    public: Any


class KeySet(Struct, frozen=True, eq=False):
    """Keys by their id.

    Attributes:
        published: what the issuer said, for comparison.
    """

    keys: Mapping[str, Key]
    published: Any


class NoKeys(Exception):
    """What the issuer publishes holds no key that could be used."""


def read_keys(document: Any) -> KeySet:
    """Read a JSON Web Key Set; keys that are not for signatures, too weak or of another kind are left out.

    Raises:
        NoKeys: it is none, or none of its keys can be used.
    """
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list):
        raise NoKeys("not a key set")
    if len(listed) > MAX_KEYS:
        raise NoKeys(f"more than {MAX_KEYS} keys")
    keys: dict[str, Key] = {}
    for entry in listed:
        key = _read(entry)
        if key is not None:
            name = entry["kid"]
            if name in keys:
                raise NoKeys(f"two keys are called {name!r}")
            keys[name] = key
    if not keys:
        raise NoKeys("no key with an id for RS256, ES256 or EdDSA")
    return KeySet(keys, {name: entry for entry in listed if (name := _name(entry)) in keys})


def _read(entry: Any) -> Key | None:
    if _name(entry) is None or entry.get("use", "sig") != "sig" or "d" in entry:
        return None
    if "verify" not in entry.get("key_ops", ["verify"]):
        return None
    algorithm = _algorithm(entry)
    if algorithm is None or entry.get("alg", algorithm) != algorithm:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            public = jwt.PyJWK(entry, algorithm.value).key
    except (jwt.PyJWTError, ValueError, TypeError, Warning):
        return None
    if algorithm is Algorithm.RS256 and not MIN_RSA_BITS <= public.key_size <= MAX_RSA_BITS:
        return None
    return Key(algorithm, public)


def _algorithm(entry: Mapping[str, Any]) -> Algorithm | None:
    kind, curve = entry.get("kty"), entry.get("crv")
    if not isinstance(kind, str) or not isinstance(curve, str | None):
        return None
    return _ALGORITHMS.get((kind, curve))


def _name(entry: Any) -> str | None:
    name = entry.get("kid") if isinstance(entry, dict) else None
    return name if isinstance(name, str) and name else None
