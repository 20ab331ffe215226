"""A call's record for people who were woken up: what happened in one line, then who could serve it, then each attempt."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from gateway import Attempt, Step
from plugins.decisions.record import CallRecord

# What the error codes of attempts mean; others are shown as they are.
WORDS = {
    "upstream_unreachable": "could not be reached",
    "upstream_overloaded": "said that it is overloaded",
    "upstream_timeout": "did not answer in time",
    "upstream_broken": "answered with something broken",
    "upstream_refused": "refused the request",
    "context_length_exceeded": "refused it as too long",
    "empty_answer": "answered with nothing",
    "client_left": "the client left first",
    "hedge_lost": "given up, another answered first",
}


def explanation(record: CallRecord) -> list[str]:
    """All lines."""
    lines = [*_head(record), ""]
    if record.candidates:
        lines += ["WHO COULD SERVE IT, and what each policy in turn left, best first", *_candidates(record)]
        notes = [f"  {step.policy}: {step.note}" for step in record.steps if step.note]
        lines += [*notes, ""]
    if record.attempts:
        lines += ["WHAT WAS TRIED", *_attempts(record)]
    return [line.rstrip() for line in lines]


def _head(record: CallRecord) -> list[str]:
    when = datetime.fromtimestamp(record.received_at / 1_000, UTC)
    streamed = ", streamed" if record.stream else ""
    arm = [] if record.probability is None else [f"experiment {record.arm}, {record.probability:.0%} of units"]
    return [
        f"{record.call_id}: {record.operation} of {record.model}{streamed}, for {record.tenant} (key {record.key_name})",
        f"received {when:%Y-%m-%d %H:%M:%S}.{when.microsecond // 1_000:03d} UTC, {_times(record)}",
        *arm,
        _conclusion(record),
    ]


def _times(record: CallRecord) -> str:
    named = (
        ("admitted", record.admitted_seconds),
        ("placed", record.placed_seconds),
        ("first byte", record.first_byte_seconds),
        ("over", record.total_seconds),
    )
    return ", ".join(f"{name} after {_seconds(value)}" for name, value in named if value is not None)


def _conclusion(record: CallRecord) -> str:
    code = f", {record.error_code}" if record.error_code else ""
    ended = f"{record.ending.replace('_', ' ')} (status {record.status}{code})"
    tries = len(record.attempts)
    if record.chosen is not None:
        return f"=> served by {record.chosen}{'' if tries == 1 else f' at attempt {tries}'}; {ended}"
    if tries:
        return f"=> served by nobody: {_result(record.attempts[-1])}, at attempt {tries} on {record.attempts[-1].replica}; {ended}"
    last = record.steps[-1] if record.steps else None
    if last is not None and not last.left:
        return f"=> not tried anywhere: {last.policy} left no replica; {ended}"
    if record.placed_seconds is None and not record.candidates:
        return f"=> not tried anywhere: it was refused before a replica was looked for; {ended}"
    return f"=> not tried anywhere; {ended}"


def _candidates(record: CallRecord) -> list[str]:
    heads = ("REPLICA", *(f"{step.policy} [{step.unit}]" if step.unit else step.policy for step in record.steps))
    rows = []
    for name in record.candidates:
        cells = [name]
        for step in record.steps:
            cells.append(_cell(name, step))
            if cells[-1].startswith("OUT"):
                break
        rows.append((*cells, *[""] * (len(heads) - len(cells))))
    return _table(heads, rows)


def _cell(name: str, step: Step) -> str:
    reasons = dict(step.dropped)
    if name in reasons:
        return f"OUT: {reasons[name]}"
    if name not in step.left:
        return "OUT"
    place = step.left.index(name)
    score = f" ({step.scores[place]:.4g})" if place < len(step.scores) else ""
    return f"{place + 1}.{score}"


def _attempts(record: CallRecord) -> list[str]:
    rows = [
        (
            f"{number}{' hedge' if attempt.hedge else ''}",
            attempt.replica,
            attempt.backend,
            _seconds(attempt.began_seconds),
            _seconds(attempt.seconds),
            _result(attempt),
        )
        for number, attempt in enumerate(record.attempts, 1)
    ]
    return _table(("", "REPLICA", "BACKEND", "AFTER", "TOOK", "RESULT"), rows)


def _result(attempt: Attempt) -> str:
    if attempt.error_code is None:
        return "answered"
    words = WORDS.get(attempt.error_code, attempt.error_code)
    return f"{words}: {attempt.reason}" if attempt.reason else words


def _seconds(value: float) -> str:
    return f"{value * 1_000:.1f} ms" if value < 1 else f"{value:.2f} s"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [heads, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    return ["  " + "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) for line in lines]
