"""Knows callers by keys that stand in the configuration; keeps only hashes of them, and compares in constant time."""

from __future__ import annotations

import hmac
from collections.abc import Mapping

import msgspec
from msgspec import Struct

from gateway import Authenticator, BuildContext, Principal, Scope, Secret
from gateway.contracts.keys import NOBODY, parse_key, sent_key
from gateway.errors import ConfigError, Unauthenticated

_REFUSAL = "This API key is not valid."


class KeySettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One key. `secret` is the whole key, `mg-<public id>-<secret>`; take it from the environment.

    `scopes` are what it may do: `inference`, `pin`, `admin:read`, `admin:write`.
    """

    name: str
    tenant: str
    team: str | None = None
    secret: Secret
    scopes: list[Scope] = msgspec.field(default_factory=lambda: [Scope.INFERENCE])


class ApiKeysSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The keys."""

    keys: list[KeySettings]


class ApiKeys:
    """The authenticator. Takes `Authorization: Bearer`, `x-api-key` and `api-key`."""

    def __init__(self, keys: Mapping[str, tuple[bytes, Principal]]) -> None:
        self._keys = dict(keys)

    def authenticate(self, headers: Mapping[bytes, bytes]) -> Principal | None:
        """Return the key's owner; None if no key of ours was sent.

        Raises:
            Unauthenticated: a key of our form that nobody has.
        """
        parts = sent_key(headers)
        if parts is None:
            return None
        digest, principal = self._keys.get(parts.public_id, (NOBODY, None))
        if hmac.compare_digest(digest, parts.digest) and principal is not None:
            return principal
        raise Unauthenticated(_REFUSAL)


def build(settings: ApiKeysSettings, _: BuildContext) -> Authenticator:
    """Hash the configured keys.

    Raises:
        ConfigError: a key is malformed, or two share a public id.
    """
    keys: dict[str, tuple[bytes, Principal]] = {}
    problems = []
    for key in settings.keys:
        parts = parse_key(key.secret.reveal())
        if parts is None:
            problems.append(f"the secret of key {key.name!r} is not of the form mg-<public id>-<secret>")
        elif parts.public_id in keys:
            problems.append(f"key {key.name!r} has the public id of another key")
        else:
            scopes = frozenset(key.scopes)
            keys[parts.public_id] = (
                parts.digest,
                Principal(parts.public_id, key.name, key.tenant, key.team, scopes=scopes),
            )
    if problems:
        raise ConfigError(*problems)
    return ApiKeys(keys)
