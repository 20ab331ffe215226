"""What the tests of products share: a clock to set, a shop that is asked about, and what may be said of it in few words."""

from __future__ import annotations

from typing import Any

import msgspec

from policies.attribution.model_licence.wanted import (
    Assignment,
    NewAttestation,
    NewEvidence,
    NewProduct,
    ProductPatch,
)

ACTOR = "somebody"
NOW = 1_795_000_000  # 2026-11-18 11:06:40 UTC
STRINGS = {"kimi-k2": "Kimi K2", "kimi-k2.5": "Kimi K2.5", "mit": ""}


class Clock:
    """Seconds since 1970, which stand still until a test moves them on."""

    def __init__(self) -> None:
        self.now: float = NOW

    def __call__(self) -> float:
        return self.now


def new(name: str = "shop", **said: Any) -> NewProduct:
    return msgspec.convert({"name": name, "owner": "Shop team", **said}, NewProduct)


def patch(**said: Any) -> ProductPatch:
    return msgspec.convert(said, ProductPatch)


def members(*wanted: dict[str, str], **said: Any) -> Assignment:
    return msgspec.convert({"members": list(wanted), **said}, Assignment)


def size(**said: Any) -> NewAttestation:
    given = {"as_of": "2026-11-01", "attested_by": "Head of shop", **said}
    return msgspec.convert(given if said else {**given, "monthly_active_users": 5}, NewAttestation)


def proof(**said: Any) -> NewEvidence:
    given = {"licence": "kimi-k2", "kind": "url", "value": "https://shop.example/about", **said}
    return msgspec.convert(given, NewEvidence)
