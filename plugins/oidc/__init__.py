"""Registers `oidc`: an authenticator of signed tokens, and the service that keeps the issuer's keys, in one."""

from __future__ import annotations

from collections.abc import Iterable

from gateway import Authenticator, Extension, Service, hookimpl
from plugins.oidc.authenticator import Oidc, build
from plugins.oidc.settings import OidcSettings

# One object for both hooks: it is built once, and the tokens are checked with the keys that the service fetched.
_OIDC: Extension[Oidc] = Extension("oidc", OidcSettings, build)


@hookimpl
def moegate_authenticators() -> Iterable[Extension[Authenticator]]:
    """Register the authenticator."""
    return [_OIDC]


@hookimpl
def moegate_services() -> Iterable[Extension[Service]]:
    """Register what keeps its keys fresh."""
    return [_OIDC]
