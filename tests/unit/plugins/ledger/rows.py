"""Short ways to make what the ledger keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gateway import Attempt, Ending, Outcome, Usage
from plugins.ledger.frames import encode_frame
from plugins.ledger.row import CallRow, encode_row
from plugins.ledger.settings import LedgerSettings
from tests.unit.builders import CHECKPOINT

NOON = 1_796_126_400_000  # 2026-12-01T12:00:00Z
DAY = 86_400_000


def make_settings(path: Path, **changes: Any) -> LedgerSettings:
    """Small files, and no care for the disk that tests run on."""
    return LedgerSettings(
        **{
            "path": path / "ledger",
            "segment_bytes": 65_536,
            "max_bytes": 1_048_576,
            "min_free_bytes": 0,
            **changes,
        }
    )


def make_row(call_id: str = "call-1", **changes: Any) -> CallRow:
    """A completed chat call of tenant `acme`."""
    fields: dict[str, Any] = {
        "call_id": call_id,
        "received_at": NOON,
        "tenant": "acme",
        "team": "search",
        "key_id": "a1b2c3",
        "user": "",
        "operation": "chat",
        "model": "kimi-k2",
        "checkpoint": "moonshotai/Kimi-K2-Instruct",
        "revision": "main",
        "backend": "vllm",
        "replica": "vllm-1",
        "attempts": 1,
        "prompt_tokens": 100,
        "cached_tokens": 40,
        "completion_tokens": 20,
        "reasoning_tokens": None,
        "estimated": False,
        "cost_nanos": 5_000,
        "currency": "USD",
        "queue_us": 10,
        "first_byte_us": 200,
        "total_us": 3_000,
        "status": 200,
        "ending": "completed",
        "error_code": "",
        "finish_reason": "stop",
        "arm": "",
        "attribution": "",
        "streamed": False,
        "max_tokens": 256,
    }
    return CallRow(**{**fields, **changes})


def make_frame(call_id: str = "call-1", **changes: Any) -> bytes:
    """The frame of such a row."""
    return encode_frame(encode_row(make_row(call_id, **changes)))


def make_outcome(**changes: Any) -> Outcome:
    """A call that was completed on the first replica."""
    fields: dict[str, Any] = {
        "ending": Ending.COMPLETED,
        "status": 200,
        "usage": Usage(prompt_tokens=100, completion_tokens=20),
        "cost_nanos": 5_000,
        "checkpoint": CHECKPOINT,
        "finish_reason": "stop",
        "attempts": (Attempt("vllm-1", "vllm"),),
        "admitted_seconds": 0.000_01,
        "first_byte_seconds": 0.2,
        "total_seconds": 2.0,
    }
    return Outcome(**{**fields, **changes})


class Clock:
    """Seconds since 1970, as a test wants them."""

    def __init__(self, ms: int = NOON) -> None:
        self.ms = ms

    def __call__(self) -> float:
        return self.ms / 1_000
