"""From the claims of a token that is genuine to a Principal; it grants nothing that the settings do not say."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from gateway import Principal, Scope
from plugins.oidc.settings import ClaimPath, OidcSettings

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
MAX_NAME_CHARACTERS = 128


class Unsuited(Exception):
    """The claims make no caller of ours; the message is for the log."""


class ClaimReader:
    """Reads claims as the settings say."""

    def __init__(self, settings: OidcSettings) -> None:
        self._settings = settings
        self._default_scopes = frozenset(settings.default_scopes)

    def principal(self, claims: Mapping[str, Any]) -> Principal:
        """Who the token speaks for.

        Raises:
            Unsuited: a claim is missing, malformed, or of a tenant that is not ours.
        """
        wanted = self._settings.claims
        subject = claims.get("sub")
        if not isinstance(subject, str) or not subject:
            raise Unsuited("no subject")
        name = _claim(claims, wanted.name)
        if not isinstance(name, str) or not name.isprintable():
            name = None
        # The id is the same for every token of a subject, and no token can be made to have another's.
        digest = hashlib.sha256(f"{self._settings.issuer}\n{subject}".encode()).hexdigest()
        return Principal(
            key_id=f"oidc-{digest[:20]}",
            key_name=(name or f"oidc-{digest[:20]}")[:MAX_NAME_CHARACTERS],
            tenant=self._tenant(claims),
            team=self._team(claims),
            scopes=self._scopes(claims),
        )

    def _tenant(self, claims: Mapping[str, Any]) -> str:
        settings = self._settings
        if settings.claims.tenant is None:
            return str(settings.tenant)
        said = _claim(claims, settings.claims.tenant)
        if not isinstance(said, str):
            raise Unsuited("no tenant")
        if settings.tenants:
            if said not in settings.tenants:
                raise Unsuited("a tenant that is not in `tenants`")
            return settings.tenants[said]
        if not NAME.fullmatch(said):
            raise Unsuited("a tenant's name that is none")
        return said

    def _team(self, claims: Mapping[str, Any]) -> str | None:
        if self._settings.claims.team is None:
            return None
        said = _claim(claims, self._settings.claims.team)
        if said is None:
            return None
        if not isinstance(said, str) or not NAME.fullmatch(said):
            raise Unsuited("a team's name that is none")
        return said

    def _scopes(self, claims: Mapping[str, Any]) -> frozenset[str]:
        allowed = self._settings.scopes
        if not allowed:
            return self._default_scopes
        said = _claim(claims, self._settings.claims.scopes)
        values = said.split() if isinstance(said, str) else said if isinstance(said, list) else ()
        granted: set[Scope] = set()
        for value in values:
            if isinstance(value, str):
                granted.update(allowed.get(value, ()))
        return self._default_scopes | granted


def _claim(claims: Any, path: ClaimPath) -> Any:
    for name in [path] if isinstance(path, str) else path:
        claims = claims.get(name) if isinstance(claims, Mapping) else None
    return claims
