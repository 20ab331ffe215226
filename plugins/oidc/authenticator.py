"""Knows callers by signed tokens; checks them without I/O, and remembers which were valid, so that most calls cost a hash."""

from __future__ import annotations

import binascii
import hashlib
import math
import time
from base64 import urlsafe_b64decode
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import jwt
import msgspec
import structlog
from msgspec import Struct

from gateway import BuildContext, Metric, Principal
from gateway.contracts.metrics import Samples, gauge
from gateway.errors import GatewayError, Unauthenticated
from plugins.oidc.claims import ClaimReader, Unsuited
from plugins.oidc.fetching import Fetcher
from plugins.oidc.jwks import Key
from plugins.oidc.settings import OidcSettings, check
from plugins.oidc.source import MIN_SECONDS_BETWEEN, KeySource

log = structlog.get_logger("moegate.oidc")

MAX_TOKEN_BYTES = 16_384

REFUSAL = "This token is not valid."
EXPIRED = "This token has expired."

# A token of another kind, such as one that only ends a session, is no proof of who calls.
_TYPES = frozenset({None, "jwt", "at+jwt", "application/at+jwt", "application/jwt"})
_PARTS = 3


class _Header(Struct):
    """What a token says of itself, believed only as far as it names a key."""

    alg: str = ""
    kid: str = ""
    typ: str | None = None
    crit: Any = None
    b64: Any = None


class _Payload(Struct):
    iss: str = ""


_HEADER = msgspec.json.Decoder(_Header)
_PAYLOAD = msgspec.json.Decoder(_Payload)


class KeysUnknown(GatewayError):
    """The issuer has not told its keys yet, or not for longer than `stale_seconds`."""

    status = 503
    code = "keys_unknown"
    log_level = "warning"

    @property
    def public_message(self) -> str:
        """A fixed text."""
        return "Tokens cannot be checked now."


class Oidc:
    """The authenticator and the service.

    Args:
        clock: seconds since 1970, as tokens count them.
        entitled: gives a caller what its tenant has; see `TenantDirectory`.
    """

    def __init__(
        self,
        settings: OidcSettings,
        source: KeySource,
        clock: Callable[[], float] = time.time,
        entitled: Callable[[Principal], Principal] = lambda principal: principal,
    ) -> None:
        self._settings = settings
        self._source = source
        self._clock = clock
        self._entitled = entitled
        self._claims = ClaimReader(settings)
        self._algorithms = frozenset(settings.algorithms)
        self._leeway = settings.leeway_seconds
        self._valid: OrderedDict[bytes, tuple[Principal, float]] = OrderedDict()
        self._generation = source.generation

    @property
    def not_ready(self) -> str | None:
        """Why no token can be checked yet; None once the issuer has told its keys."""
        return "The issuer's keys have not been fetched yet." if self._source.age_seconds() is None else None

    def metrics(self) -> list[Metric]:
        """How old what is known is."""
        age = self._source.age_seconds()
        samples: Samples = {} if age is None else {(): age}
        return [gauge("moegate_oidc_keys_age_seconds", "Since the issuer last told its keys.", samples)]

    async def run(self) -> None:
        """Keep the keys fresh until cancelled."""
        await self._source.keep_fresh(self._settings.jwks_seconds)

    def authenticate(self, headers: Mapping[bytes, bytes]) -> Principal | None:
        """Return whom the token speaks for; None if there is none, or it is another issuer's.

        Raises:
            Unauthenticated: a token of our issuer that is not valid, or not yet known to be.
            KeysUnknown: no token can be checked now.
            GatewayError: the tenant that the token names is not let in.
        """
        principal = self._principal(headers)
        return None if principal is None else self._entitled(principal)

    def _principal(self, headers: Mapping[bytes, bytes]) -> Principal | None:
        authorization = headers.get(b"authorization")
        if authorization is None or authorization[:7].lower() != b"bearer ":
            return None
        token = authorization[7:].strip()
        digest = hashlib.sha256(token).digest()
        age = self._source.age_seconds()
        if self._generation != self._source.generation:
            self._generation = self._source.generation
            self._valid.clear()
        known = self._valid.get(digest)
        if known is not None and age is not None and age <= self._settings.stale_seconds:
            principal, ends_at = known
            if self._clock() < ends_at:
                self._valid.move_to_end(digest)
                return principal
            del self._valid[digest]
        return self._examine(token, digest, age)

    def _examine(self, token: bytes, digest: bytes, age: float | None) -> Principal | None:
        header = self._ours(token)
        if header is None:
            return None
        if age is None or age > self._settings.stale_seconds:
            raise KeysUnknown("the issuer's keys are not known", retry_after_seconds=MIN_SECONDS_BETWEEN)
        try:
            claims = self._genuine(token, self._key(header))
            ends_at = self._ends_at(claims)
            principal = self._claims.principal(claims)
        except (jwt.PyJWTError, Unsuited, ValueError, OverflowError, RecursionError) as error:
            # Only our own words: what PyJWT says may hold what a stranger has sent.
            reason = str(error) if isinstance(error, Unsuited) else type(error).__name__
            log.info("token refused", issuer=self._settings.issuer, reason=reason)
            raise Unauthenticated(REFUSAL) from None
        self._valid[digest] = (principal, ends_at)
        if len(self._valid) > self._settings.cached_tokens:
            self._valid.popitem(last=False)
        return principal

    def _ours(self, token: bytes) -> _Header | None:
        """The header of a token that claims to be of our issuer; nothing of it is proved yet."""
        parts = token.split(b".", _PARTS)
        if len(parts) != _PARTS or len(token) > MAX_TOKEN_BYTES:
            return None
        try:
            header, payload = _HEADER.decode(_decoded(parts[0])), _PAYLOAD.decode(_decoded(parts[1]))
        except (msgspec.DecodeError, binascii.Error, ValueError, RecursionError):
            return None
        return header if payload.iss == self._settings.issuer else None

    def _key(self, header: _Header) -> Key:
        if header.crit is not None or header.b64 is not None or _lower(header.typ) not in _TYPES:
            raise Unauthenticated(REFUSAL)
        key = self._source.find(header.kid)
        if key is None:
            self._source.want()
            # The issuer may have changed its keys a moment ago; whoever has a good token may try again.
            raise Unauthenticated(REFUSAL, retry_after_seconds=MIN_SECONDS_BETWEEN)
        # The key says how it is used. A token that says something else, or `none`, is refused before anything is checked.
        if key.algorithm not in self._algorithms or header.alg != key.algorithm:
            raise Unauthenticated(REFUSAL)
        return key

    def _genuine(self, token: bytes, key: Key) -> dict[str, Any]:
        claims: dict[str, Any] = jwt.decode(
            token,
            key.public,
            algorithms=[key.algorithm.value],
            audience=self._settings.audience,
            issuer=self._settings.issuer,
            # Times are looked at by our own clock, below.
            options={
                "require": ["exp", "iss", "aud", "sub"],
                "verify_exp": False,
                "verify_nbf": False,
                "verify_iat": False,
            },
        )
        return claims

    def _ends_at(self, claims: Mapping[str, Any]) -> float:
        now = self._clock()
        ends_at = _time(claims["exp"]) + self._leeway
        if now >= ends_at:
            raise Unauthenticated(EXPIRED)
        if "nbf" in claims and now < _time(claims["nbf"]) - self._leeway:
            raise Unsuited("not valid yet")
        return ends_at


def _time(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise Unsuited("a time that is no number")
    return float(value)


def _lower(text: str | None) -> str | None:
    return text.lower() if text is not None else None


def _decoded(part: bytes) -> bytes:
    return urlsafe_b64decode(part + b"=" * (-len(part) % 4))


def build(settings: OidcSettings, context: BuildContext) -> Oidc:
    """Build it from its settings; the keys are the same before and after a reload.

    Raises:
        ConfigError: the settings make no sense, or the certificates cannot be read.
    """
    check(settings)
    fetcher = Fetcher(settings)
    proxy = settings.proxy.reveal() if settings.proxy is not None else ""
    key = ("oidc", settings.issuer, settings.jwks_url or "", str(settings.ca_file or ""), proxy)
    source = context.shared(key, lambda: KeySource(settings.issuer, fetcher))
    return Oidc(settings, source, entitled=context.directory.entitled)
