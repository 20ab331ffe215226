"""Short ways to make a call and what it runs into; every argument that a test does not name is the plainest there is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from gateway import Backend, Call, Checkpoint, Model, Operation, Principal, Replica, ReplicaState
from gateway.fleet.condition import Condition
from gateway.fleet.hedges import Hedges
from gateway.fleet.pool import Member, Pool
from gateway.fleet.retries import Retries
from gateway.settings import BreakerSettings
from gateway.upstream import Origin, Timeouts
from gateway.upstream.head import EMPTY_BLOCK
from tests.unit.fakes import FakeBackend

CHECKPOINT = Checkpoint(id="moonshotai/Kimi-K2-Instruct", context_length=131_072)
MODEL = Model("kimi-k2", ("kimi-latest",), CHECKPOINT)
PRINCIPAL = Principal("a1b2c3", "demo", "demo")
BODY = b'{"model":"kimi-k2","messages":[{"role":"user","content":"hi"}]}'

_TYPES_OF_CALL = {field.name for field in msgspec.structs.fields(Call)}


def make_call(**changes: Any) -> Call:
    """A chat call that is not streamed, of the key `demo`."""
    fields: dict[str, Any] = {
        "call_id": "0" * 32,
        "operation": Operation.CHAT,
        "model": MODEL,
        "requested_model": "kimi-k2",
        "principal": PRINCIPAL,
        "body": BODY,
    }
    assert changes.keys() <= _TYPES_OF_CALL
    fields |= changes
    if "fields" not in fields:
        is_json = fields["body"].startswith(b"{")
        fields["fields"] = msgspec.json.decode(fields["body"], type=dict[str, msgspec.Raw]) if is_json else {}
    return Call(**fields)


def make_replica(name: str = "a", **changes: Any) -> Replica:
    """A ready replica with four free slots."""
    fields: dict[str, Any] = {
        "name": name,
        "model": "kimi-k2",
        "backend": "fake",
        "url": "http://127.0.0.1:1",
        "served_model": "kimi-k2",
        "checkpoint": CHECKPOINT,
        "operations": frozenset(Operation),
        "context_length": CHECKPOINT.context_length,
        "max_concurrent": 4,
        "state": ReplicaState.READY,
        "state_reason": "",
    }
    return Replica(**{**fields, **changes})


def make_member(
    replica: Replica,
    backend: Backend | None = None,
    *,
    base_path: str = "",
    breaker: BreakerSettings | None = None,
) -> Member:
    """What belongs to a replica; its origin's host is the replica's name, so that a test sees who was asked."""
    return Member(
        replica=replica,
        condition=Condition(replica, breaker),
        backend=backend or FakeBackend(),
        origin=Origin("http", replica.name, 80),
        base_path=base_path,
        timeouts=Timeouts(),
        headers=EMPTY_BLOCK,
        labels=((b"x-moegate-replica", replica.name.encode()),),
    )


def make_pool(
    *replicas: Replica,
    backend: Backend | None = None,
    max_attempts: int = 3,
    model: Model = MODEL,
    breaker: BreakerSettings | None = None,
    retries: Retries | None = None,
    hedges: Hedges | None = None,
) -> Pool:
    """The pool of one model; without breakers and hedges unless they are given."""
    members = [make_member(replica, backend, breaker=breaker) for replica in replicas]
    return Pool(model, members, max_attempts, retries, hedges)


async def until(condition: Callable[[], bool]) -> None:
    """Let the event loop run until something has happened that no event tells of."""
    for _ in range(10_000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never happened")
