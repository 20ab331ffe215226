"""The form of an API key, `mg-<public id>-<secret>`: makes and takes apart, stores nothing and decides nothing."""

from __future__ import annotations

import re
import secrets

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


def generate_key() -> str:
    """A new key with 256 random bits."""
    return f"mg-{secrets.token_hex(PUBLIC_ID_BYTES)}-{secrets.token_urlsafe(SECRET_BYTES)}"


def parse_key(text: str) -> KeyParts | None:
    """Take a key apart; None if it is not of our form."""
    match = _FORM.fullmatch(text)
    return KeyParts(match[1], match[2]) if match else None
