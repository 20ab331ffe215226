"""Keeps tenants out of each other's prefix caches: a salt per tenant, which no client can set and none can guess from its own."""

from __future__ import annotations

import hashlib

from gateway import Secret

# Without a key of the operator's, salts still differ per tenant, and are the same for every gateway of a fleet.
_DEFAULT_KEY = b"moegate cache salt"
_MOST_TENANTS = 10_000
# vLLM takes at most 128 characters, none of them @ / \ or NUL (entrypoints/generate/base/protocol.py).
_BYTES = 20


class CacheSalts:
    """Salts, made once per tenant."""

    def __init__(self, key: Secret | None) -> None:
        self._key = hashlib.blake2b(key.reveal().encode()).digest() if key is not None else _DEFAULT_KEY
        self._salts: dict[str, str] = {}

    def of(self, tenant: str) -> str:
        """The salt of one tenant."""
        salt = self._salts.get(tenant)
        if salt is None:
            if len(self._salts) >= _MOST_TENANTS:
                self._salts.clear()
            salt = hashlib.blake2b(tenant.encode(), key=self._key, digest_size=_BYTES).hexdigest()
            self._salts[tenant] = salt
        return salt
