"""The plugin's one instance: an authenticator without I/O, the service that keeps it fresh, and the admin routes."""

from __future__ import annotations

import hmac
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct

from gateway import BuildContext, Metric, Principal
from gateway.contracts.keys import NOBODY, sent_key
from gateway.contracts.metrics import Samples, gauge
from gateway.errors import GatewayError, Unauthenticated
from plugins.tenants.callers import Callers
from plugins.tenants.directory import Directory
from plugins.tenants.failures import KeysUnknown
from plugins.tenants.refreshing import Refreshing
from plugins.tenants.routes import handlers
from plugins.tenants.snapshot import Entry, Snapshot

if TYPE_CHECKING:
    from litestar.types import ControllerRouterHandler

REFUSAL = "This API key is not valid."
RETRY_AFTER_SECONDS = 1.0

# Stands in for a key that is not known: it takes as long to refuse, and opens nothing even to its own hash.
_NOBODY = Entry(NOBODY, (), math.inf, "", Principal("nobody", "nobody", "nobody"))


class TenantsSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How keys are kept fresh.

    Attributes:
        poll_seconds: how often the database is asked whether something has changed. A revocation holds after this and
            the time that the answer takes.
        stale_seconds: refuse all keys when the database has not answered for so long. By default never: what is known
            still holds.
    """

    poll_seconds: Annotated[float, Meta(ge=0.05, le=60)] = 0.25
    stale_seconds: Annotated[float, Meta(ge=1)] | None = None


class Tenants:
    """The authenticator, the service and the routes.

    Args:
        aliases: other names of models, by which keys may name them.
        clock: seconds since 1970; `monotonic` is for the age of what is known.
    """

    def __init__(
        self,
        settings: TenantsSettings,
        directory: Directory,
        refreshing: Refreshing,
        *,
        aliases: Mapping[str, str] = {},
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._poll_seconds = settings.poll_seconds
        self._stale_seconds = math.inf if settings.stale_seconds is None else settings.stale_seconds
        self._can_stale = settings.stale_seconds is not None
        self._directory = directory
        self._snapshot = refreshing.snapshot
        self._refreshing = refreshing
        self._aliases = aliases
        self._callers = Callers(refreshing.snapshot)
        self._clock = clock
        self._monotonic = monotonic

    @property
    def not_ready(self) -> str | None:
        """Why nobody can be let in by this now; None if they can."""
        if not self._snapshot.loaded:
            return "The keys have not been read from the database yet."
        if self._monotonic() - self._snapshot.heard_at > self._stale_seconds:
            return "The database has not answered for longer than stale_seconds."
        return None

    def authenticate(self, headers: Mapping[bytes, bytes]) -> Principal | None:
        """Return the key's owner; None if no key of our form was sent.

        Raises:
            Unauthenticated: a key that nobody has, or one that has ended.
            KeysUnknown: nothing has been read yet, or nothing for too long.
        """
        parts = sent_key(headers)
        if parts is None:
            return None
        entry = self._snapshot.entries.get(parts.public_id, _NOBODY)
        digest = parts.digest
        now = self._clock()
        if not hmac.compare_digest(entry.digest, digest) and not (entry.retired and _still_holds(entry, digest, now)):
            raise self._unknown()
        if entry.refusal is not None:
            raise Unauthenticated(f"{REFUSAL} {entry.refusal}")
        if now >= entry.ends_at:
            raise Unauthenticated(f"{REFUSAL} It has expired.")
        if self._can_stale and (reason := self.not_ready):
            raise KeysUnknown(reason, retry_after_seconds=RETRY_AFTER_SECONDS)
        return entry.principal

    def entitled(self, principal: Principal) -> Principal:
        """What a caller whom another authenticator knows is given by its tenant and team; see `TenantDirectory`.

        Raises:
            Unauthenticated: they are not let in.
            KeysUnknown: nothing has been read yet, or nothing for too long.
        """
        if (reason := self.not_ready) is not None:
            raise KeysUnknown(reason, retry_after_seconds=RETRY_AFTER_SECONDS)
        return self._callers.entitled(principal, self._clock())

    def _unknown(self) -> GatewayError:
        """What to say to a key that nobody is known to have: that is final only if all keys are known."""
        reason = self.not_ready
        return (
            Unauthenticated(REFUSAL) if reason is None else KeysUnknown(reason, retry_after_seconds=RETRY_AFTER_SECONDS)
        )

    def metrics(self) -> list[Metric]:
        """What is known, and how old it is."""
        heard_at = self._snapshot.heard_at
        age: Samples = {(): self._monotonic() - heard_at} if math.isfinite(heard_at) else {}
        return [
            gauge("moegate_tenants_snapshot_age_seconds", "Since the database last said what keys there are.", age),
            gauge(
                "moegate_tenants_keys", "Keys that are known, disabled ones among them.", len(self._snapshot.entries)
            ),
        ]

    async def run(self) -> None:
        """Keep the keys fresh."""
        # Not while it is built: a configuration that is refused must not change what the running one knows.
        self._snapshot.name_models(self._aliases)
        await self._refreshing.run(self._poll_seconds)

    @property
    def handlers(self) -> Sequence[ControllerRouterHandler]:
        """The admin routes."""
        return handlers(self._directory)


def _still_holds(entry: Entry, digest: bytes, now: float) -> bool:
    """Whether it is one of the key's secrets that were replaced, within its grace."""
    return any([hmac.compare_digest(old, digest) and now < until for old, until in entry.retired])  # noqa: C419 - all are compared


def build(settings: TenantsSettings, context: BuildContext) -> Tenants:
    """Put the instance together; what it knows outlives a reload."""
    engine = context.database.engine
    # Another database has other keys, so its URL is part of what the snapshot is shared by.
    snapshot = context.shared(("tenants", engine.url.render_as_string(hide_password=False)), Snapshot)
    aliases = {alias: model.name for model in context.models for alias in model.aliases}
    directory = Directory(engine, changed=snapshot.changed.set)
    return Tenants(settings, directory, Refreshing(engine, snapshot), aliases=aliases)
