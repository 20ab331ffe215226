"""What is written down of a call, and what of calls that could not be written down; prompts and answers are not among it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Struct

from gateway import Call, Outcome, Usage

_UNTOLD = Usage()

MOST_USER_CHARACTERS = 256
MOST_ATTRIBUTION_CHARACTERS = 1_000

# More than any call takes; a sum over a day stays within 64 bits even if every call claimed that much.
MOST_TOKENS = 10**13
MOST_NANOS = 10**15


class CallRow(Struct, array_like=True, tag="c", gc=False):
    """One call. A new field goes to the end, with a default, so that older journals can still be read.

    Attributes:
        received_at: milliseconds since 1970, UTC.
        attempts: replicas that were tried; 0 for a call that was refused before that.
        prompt_tokens, cached_tokens, completion_tokens, reasoning_tokens: None where nobody knows.
        cost_nanos: billionths of the currency; None where the model has no prices.
        queue_us, first_byte_us, total_us: microseconds since the call was received; None for what was never reached.
        arm: of an experiment.
        max_tokens: the most that the call asked for, of each answer; None if it did not say, or the row is of before 0002.
    """

    call_id: str
    received_at: int
    tenant: str
    team: str
    key_id: str
    user: str
    operation: str
    model: str
    checkpoint: str
    revision: str
    backend: str
    replica: str
    attempts: int
    prompt_tokens: int | None
    cached_tokens: int | None
    completion_tokens: int | None
    reasoning_tokens: int | None
    estimated: bool
    cost_nanos: int | None
    currency: str
    queue_us: int | None
    first_byte_us: int | None
    total_us: int
    status: int
    ending: str
    error_code: str
    finish_reason: str
    arm: str
    attribution: str
    streamed: bool
    max_tokens: int | None = None


class GapRow(Struct, array_like=True, tag="g", gc=False):
    """Calls that ended between two moments (milliseconds since 1970) and are not in the journal, because it was full.

    Attributes:
        lost: calls that may have used tokens.
        refused: calls that the ledger itself refused; they have used none.
    """

    since: int
    until: int
    lost: int
    refused: int


_encode = msgspec.msgpack.Encoder().encode
_decoder: msgspec.msgpack.Decoder[CallRow | GapRow] = msgspec.msgpack.Decoder(CallRow | GapRow)


def row_of(call: Call, outcome: Outcome, arm: str = "", clock: Callable[[], float] = time.time) -> CallRow:
    """What is kept of a call that has just ended. On the call's way: no loops, no dicts, no formatting."""
    principal = call.principal
    model = call.model
    checkpoint = outcome.checkpoint
    usage = outcome.usage or _UNTOLD
    attempts = outcome.attempts
    last = attempts[-1] if attempts else None
    prices = model.prices
    user = call.user or ""
    attribution = outcome.attribution
    admitted, first_byte, total = outcome.admitted_seconds, outcome.first_byte_seconds, outcome.total_seconds
    return CallRow(
        call.call_id,
        int((clock() - total) * 1_000),
        principal.tenant,
        principal.team or "",
        principal.key_id,
        user if len(user) <= MOST_USER_CHARACTERS else user[:MOST_USER_CHARACTERS],
        call.operation,
        model.name,
        "" if checkpoint is None else checkpoint.id,
        "" if checkpoint is None else checkpoint.revision,
        "" if last is None else last.backend,
        "" if last is None else last.replica,
        len(attempts),
        usage.prompt_tokens,
        usage.cached_tokens,
        usage.completion_tokens,
        usage.reasoning_tokens,
        outcome.usage_estimated,
        outcome.cost_nanos,
        "" if prices is None else prices.currency,
        None if admitted is None else int(admitted * 1_000_000),
        None if first_byte is None else int(first_byte * 1_000_000),
        int(total * 1_000_000),
        outcome.status,
        outcome.ending,
        outcome.error_code or "",
        outcome.finish_reason or "",
        arm,
        "; ".join(attribution)[:MOST_ATTRIBUTION_CHARACTERS] if attribution else "",
        call.stream,
        call.max_tokens,
    )


def encode_row(row: CallRow | GapRow) -> bytes:
    """The payload of its frame."""
    try:
        return _encode(row)
    except (OverflowError, UnicodeEncodeError):  # a number past 64 bits, or half of a surrogate pair, from outside
        return _encode(_tame(row))


def decode_row(payload: bytes) -> CallRow | GapRow:
    """Read a payload.

    Raises:
        msgspec.MsgspecError: it is none of ours.
    """
    return _decoder.decode(payload)


def tamed(row: CallRow) -> CallRow:
    """A row that was read, as every database takes it: texts without NUL, numbers within bounds.

    The same object where nothing was to be done, which is nearly always.
    """
    for value in msgspec.structs.astuple(row):
        kind = type(value)
        if (kind is str and "\0" in value) or (kind is int and not 0 <= value <= MOST_TOKENS):
            better: CallRow = _tame(row)
            return better
    return row


def _tame(row: Any) -> Any:
    changes: dict[str, Any] = {}
    for name in row.__struct_fields__:
        value = getattr(row, name)
        if isinstance(value, str):
            # str, because an enumeration's member is a str that is not printed as one
            better: Any = str(value).encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")
        elif isinstance(value, int) and not isinstance(value, bool):
            better = min(max(value, 0), MOST_TOKENS if name.endswith("_tokens") else MOST_NANOS)
        else:
            continue
        if better != value:
            changes[name] = better
    return msgspec.structs.replace(row, **changes) if changes else row
