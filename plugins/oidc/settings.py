"""What the `oidc` plugin is told: whose tokens, for whom, and which claims say what; data, and the checks of it."""

from __future__ import annotations

import ipaddress
from enum import StrEnum
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from msgspec import Meta, Struct, field

from gateway import Scope, Secret
from gateway.errors import ConfigError

ClaimPath = str | list[str]
"""A claim's name; a list of names where it is inside of other claims. A name may hold dots and slashes."""

Seconds = Annotated[float, Meta(gt=0, le=86_400)]
TenantName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


class Algorithm(StrEnum):
    """How a token may be signed. None of them has a secret that the gateway, too, would have to know."""

    RS256 = "RS256"
    ES256 = "ES256"
    EDDSA = "EdDSA"


class ClaimSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a token says what.

    Attributes:
        tenant: not needed where the settings name one tenant for all.
        name: what records call the caller.
        scopes: a text with spaces, or a list.
    """

    tenant: ClaimPath | None = None
    team: ClaimPath | None = None
    name: ClaimPath = "sub"
    scopes: ClaimPath = "scope"


class OidcSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One issuer of tokens.

    Attributes:
        issuer: its URL, exactly as tokens have it in `iss`.
        audience: a token must be for one of these.
        jwks_url: where its keys are; found by discovery where not given.
        jwks_seconds: how often the keys are fetched.
        stale_seconds: how long the last keys hold while the issuer cannot be reached; then all tokens are refused.
        leeway_seconds: by how much the issuer's clock may differ from ours.
        tenant: of all callers, where no claim says it.
        tenants: which tenant a claim's value means. Where it is given, other values are refused.
        scopes: what a value of the scopes' claim allows here, in addition.
        default_scopes: what every valid token allows.
        cached_tokens: how many tokens are remembered as valid, so that the next call need not check a signature.
        ca_file: certificates that vouch for the issuer, in PEM, instead of the usual ones.
        proxy: URL of a proxy between here and the issuer; none is taken from the environment.
    """

    issuer: str
    audience: Annotated[list[str], Meta(min_length=1, max_length=32)]
    jwks_url: str | None = None
    jwks_seconds: Seconds = 300.0
    stale_seconds: Seconds = 86_400.0
    leeway_seconds: Annotated[float, Meta(ge=0, le=300)] = 30.0
    algorithms: Annotated[list[Algorithm], Meta(min_length=1)] = field(default_factory=lambda: [*Algorithm])
    claims: ClaimSettings = ClaimSettings()
    tenant: TenantName | None = None
    tenants: dict[str, TenantName] = {}
    scopes: dict[str, list[Scope]] = {}
    default_scopes: list[Scope] = field(default_factory=lambda: [Scope.INFERENCE])
    cached_tokens: Annotated[int, Meta(ge=1, le=1_000_000)] = 10_000
    ca_file: Path | None = None
    proxy: Secret | None = None


def problems(settings: OidcSettings) -> list[str]:
    """What is wrong beyond the types."""
    found = [
        f"{name}: must be an https URL; http is for an issuer on this machine only"
        for name, url in (("issuer", settings.issuer), ("jwks_url", settings.jwks_url))
        if url is not None and not trustworthy(url)
    ]
    if (settings.tenant is None) == (settings.claims.tenant is None):
        found.append("exactly one of `tenant` and `claims.tenant` must say whose tenant a caller belongs to")
    if settings.tenants and settings.claims.tenant is None:
        found.append("tenants: there is no `claims.tenant` whose values it could explain")
    return found


def check(settings: OidcSettings) -> None:
    """Refuse settings that cannot work.

    Raises:
        ConfigError: with every problem.
    """
    found = problems(settings)
    if found:
        raise ConfigError(*found)


def trustworthy(url: str) -> bool:
    """Nobody on the way can put keys of their own in: https, or this machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
        _ = parts.port
    except ValueError:
        return False
    if not host or parts.username is not None or parts.fragment:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and _is_this_machine(host))


def _is_this_machine(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
