"""The issuer's keys as they are known now: fetched by time, sooner when a token names an unknown one, kept in an outage."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import structlog

from plugins.oidc.fetching import FetchFailed
from plugins.oidc.jwks import Key, KeySet

log = structlog.get_logger("moegate.oidc")

# Tokens with made-up key ids must not make us a burden to the issuer.
MIN_SECONDS_BETWEEN = 5.0
FIRST_RETRY_SECONDS = 1.0
MAX_RETRY_SECONDS = 30.0


class KeySource:
    """One issuer's keys. It outlives reloads, and with it what it knows.

    Args:
        issuer: for the log.
        fetch: FetchFailed if the keys cannot be had.
        clock: monotonic seconds.
    """

    def __init__(
        self, issuer: str, fetch: Callable[[], Awaitable[KeySet]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.generation = 0
        self._issuer = issuer
        self._fetch = fetch
        self._clock = clock
        self._set: KeySet | None = None
        self._fetched_at = 0.0
        self._wanted = asyncio.Event()

    def age_seconds(self) -> float | None:
        """How long ago the issuer last told its keys; None if it never has."""
        return None if self._set is None else self._clock() - self._fetched_at

    def find(self, name: str) -> Key | None:
        """The key of that id, among those that are known."""
        return None if self._set is None else self._set.keys.get(name)

    def want(self) -> None:
        """A token names a key that is not known: ask for new ones, soon and in the background."""
        self._wanted.set()

    async def refresh(self) -> bool:
        """Fetch the keys now; False if that fails, and what was known still holds."""
        self._wanted.clear()
        try:
            found = await self._fetch()
        except FetchFailed as error:
            log.warning("keys not fetched", issuer=self._issuer, reason=str(error), age_seconds=self.age_seconds())
            return False
        if self._set is None or found.published != self._set.published:
            # Whatever was found valid with the old keys has to be looked at anew.
            self.generation += 1
            log.info("keys changed", issuer=self._issuer, keys=sorted(found.keys))
        self._set = found
        self._fetched_at = self._clock()
        return True

    async def keep_fresh(self, every_seconds: float) -> None:
        """Fetch the keys now and then, until cancelled."""
        retry_seconds = FIRST_RETRY_SECONDS
        while True:
            if await self.refresh():
                retry_seconds = FIRST_RETRY_SECONDS
                await self._pause(min(MIN_SECONDS_BETWEEN, every_seconds), every_seconds)
            else:
                await asyncio.sleep(retry_seconds)
                retry_seconds = min(retry_seconds * 2, MAX_RETRY_SECONDS)

    async def _pause(self, least_seconds: float, most_seconds: float) -> None:
        await asyncio.sleep(least_seconds)
        try:
            async with asyncio.timeout(most_seconds - least_seconds):
                await self._wanted.wait()
        except TimeoutError:
            return
