"""What the tests of tenants share: a clock to set, terms in few words, a node that reads a database."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway import Principal
from gateway.contracts.keys import parse_key
from gateway.errors import Unauthenticated
from plugins.tenants.declared import Declaration
from plugins.tenants.directory import Directory
from plugins.tenants.model import TenantTerms, Terms
from plugins.tenants.refreshing import Refreshing
from plugins.tenants.service import Tenants, TenantsSettings
from plugins.tenants.snapshot import Snapshot

ACTOR = "somebody"
NOW = 1_800_000_000


class Clock:
    """Seconds since 1970, which stand still until a test moves them on."""

    def __init__(self) -> None:
        self.now: float = NOW

    def __call__(self) -> float:
        return self.now


def terms(**said: Any) -> Terms:
    return msgspec.convert(said, Terms)


def tenant_terms(**said: Any) -> TenantTerms:
    return msgspec.convert(said, TenantTerms)


def declaration(*tenants: dict[str, Any]) -> Declaration:
    return msgspec.convert({"tenants": list(tenants)}, Declaration)


class Node:
    """A gateway's view of one database: what it has read, and whom it lets in."""

    def __init__(self, engine: AsyncEngine, clock: Clock, **settings: Any) -> None:
        self.snapshot = Snapshot()
        self.refreshing = Refreshing(engine, self.snapshot, clock)
        self.tenants = Tenants(
            TenantsSettings(**settings), Directory(engine, clock), self.refreshing,
            clock=clock, monotonic=clock,
        )  # fmt: skip

    async def refresh(self) -> bool:
        return await self.refreshing.refresh()

    def knows(self, key: str) -> Principal | None:
        return self.tenants.authenticate({b"authorization": b"Bearer " + key.encode()})


def id_of(key: str) -> str:
    parts = parse_key(key)
    assert parts is not None
    return parts.public_id


def refused(node: Node, key: str) -> str:
    with pytest.raises(Unauthenticated) as caught:
        node.knows(key)
    return caught.value.message
