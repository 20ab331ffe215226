"""A real issuer for the session, and an authenticator that knows its keys, with a clock of the test's own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from plugins.oidc.authenticator import Oidc
from plugins.oidc.fetching import Fetcher
from plugins.oidc.settings import OidcSettings, check
from plugins.oidc.source import KeySource
from tests.support.oidc_issuer import Issuer, oidc_issuer
from tests.support.oidc_issuer.process import AUDIENCE


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


class Door:
    """The authenticator as a request meets it.

    Attributes:
        clock: seconds since 1970; `monotonic` is the age of keys.
    """

    def __init__(self, issuer: Issuer, /, **changes: Any) -> None:
        plain = {"issuer": issuer.url, "audience": [AUDIENCE], "claims": {"tenant": "tenant"}}
        self.settings = msgspec.convert({**plain, **changes}, OidcSettings)
        check(self.settings)
        self.clock = Clock()
        self.monotonic = Clock()
        self.source = KeySource(issuer.url, Fetcher(self.settings), self.monotonic)
        self.oidc = Oidc(self.settings, self.source, self.clock)

    def enter(self, token: str | bytes) -> Any:
        """What `Authorization: Bearer <token>` makes of the caller."""
        content = token.encode() if isinstance(token, str) else token
        return self.oidc.authenticate({b"authorization": b"Bearer " + content})


@pytest.fixture(scope="session")
def shared_issuer() -> Iterator[Issuer]:
    """One issuer for all tests that do not kill it."""
    with oidc_issuer() as issuer:
        yield issuer


@pytest.fixture
def issuer(shared_issuer: Issuer) -> Issuer:
    """The issuer, well, with keys of this test's own."""
    shared_issuer.behave(status=200)
    shared_issuer.rotate(keep=False)
    return shared_issuer


@pytest.fixture
async def make_door(issuer: Issuer) -> Callable[..., Any]:
    """Make an authenticator that has fetched the keys, with changed settings."""

    async def make(**changes: Any) -> Door:
        door = Door(issuer, **changes)
        assert await door.source.refresh()
        return door

    return make


@pytest.fixture
async def door(make_door: Callable[..., Any]) -> Door:
    """An authenticator that has fetched the keys."""
    made: Door = await make_door()
    return made
