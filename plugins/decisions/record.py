"""What is remembered of one call: who could have served it, what each policy said, and how each attempt went. No prompt."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from gateway import Attempt, Call, Decision, Outcome, Step


class CallRecord(Struct, frozen=True, kw_only=True):
    """One call, as it is kept and shown.

    Attributes:
        received_at: milliseconds since 1970.
        status: the HTTP status that the client got; 499 if it left before the end.
        admitted_seconds, placed_seconds, first_byte_seconds, total_seconds: since it was received; null if never reached.
        candidates, steps, chosen, arm, probability: see `gateway.Decision`.
        attempts: in order, the one that served last.
    """

    call_id: str
    received_at: int
    model: str
    operation: str
    stream: bool
    tenant: str
    key_name: str
    status: int
    ending: str
    error_code: str | None
    admitted_seconds: float | None
    placed_seconds: float | None
    first_byte_seconds: float | None
    total_seconds: float
    candidates: tuple[str, ...]
    steps: tuple[Step, ...]
    chosen: str | None
    attempts: tuple[Attempt, ...]
    arm: str = ""
    probability: float | None = None


def record_of(call: Call, outcome: Outcome, decision: Decision, now: float) -> CallRecord:
    """Make the record of a call that has just ended; `now` in seconds since 1970."""
    return CallRecord(
        call_id=call.call_id,
        received_at=int((now - outcome.total_seconds) * 1_000),
        model=call.model.name,
        operation=call.operation.value,
        stream=call.stream,
        tenant=call.principal.tenant,
        key_name=call.principal.key_name,
        status=outcome.status,
        ending=outcome.ending.value,
        error_code=outcome.error_code,
        admitted_seconds=outcome.admitted_seconds,
        placed_seconds=outcome.placed_seconds,
        first_byte_seconds=outcome.first_byte_seconds,
        total_seconds=outcome.total_seconds,
        candidates=decision.candidates,
        steps=decision.steps,
        chosen=decision.chosen,
        attempts=outcome.attempts,
        arm=decision.arm,
        probability=decision.probability,
    )


def encode(record: CallRecord) -> bytes:
    """As JSON."""
    return msgspec.json.encode(record)


def is_sampled(call_id: str, share: float) -> bool:
    """Whether a call is among those that go to the database; its id's last digits are random, and the same everywhere."""
    try:
        return int(call_id[-8:], 16) < share * 2**32
    except ValueError:  # not an id of ours
        return False
