"""The form of an API key, `mg-<public id>-<secret>`: made, found in a request, taken apart, hashed; never stored."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Mapping

from msgspec import Struct

SECRET_BYTES = 32
PUBLIC_ID_BYTES = 6

_FORM = re.compile(r"mg-([0-9a-z]{4,32})-([0-9A-Za-z_-]{32,128})")


class KeyParts(Struct, frozen=True):
    """`public_id` may be logged and shown; `secret` may not."""

    public_id: str
    secret: str

    def __repr__(self) -> str:
        return f"KeyParts({self.public_id!r}, ***)"

    @property
    def digest(self) -> bytes:
        """What is kept of the secret, 32 bytes. 256 random bits need no slow hash: there is nothing to guess."""
        return hashlib.sha256(self.secret.encode("latin-1")).digest()


# Compared with when the public id is unknown, so that an unknown id takes as long as a wrong secret.
NOBODY = hashlib.sha256(b"nobody").digest()


def generate_key(public_id: str | None = None) -> str:
    """A new key with 256 random bits; another secret for an id where one is given."""
    return f"mg-{public_id or secrets.token_hex(PUBLIC_ID_BYTES)}-{secrets.token_urlsafe(SECRET_BYTES)}"


def parse_key(text: str) -> KeyParts | None:
    """Take a key apart; None if it is not of our form."""
    match = _FORM.fullmatch(text)
    return KeyParts(match[1], match[2]) if match else None


def sent_key(headers: Mapping[bytes, bytes]) -> KeyParts | None:
    """The key that a request came with, as `Authorization: Bearer`, `x-api-key` or `api-key`; None if none of our form.

    Args:
        headers: with lower-case names.
    """
    authorization = headers.get(b"authorization")
    if authorization is not None and authorization[:7].lower() == b"bearer ":
        sent = authorization[7:].strip()
    else:
        sent = headers.get(b"x-api-key") or headers.get(b"api-key") or b""
    return parse_key(sent.decode("latin-1")) if sent else None
