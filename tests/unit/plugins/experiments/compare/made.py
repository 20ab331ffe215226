"""Results for tests, without an engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from plugins.experiments.compare.arms import Arm, ArmName
from plugins.experiments.compare.observed import Observed, observe
from plugins.experiments.compare.record import Plan, RunRecord, write_record
from plugins.experiments.compare.results import Answer, Checks, Result, ResultLog


def answer(text: str = "ten", **more: Any) -> Answer:
    """A whole one, of four tokens in four pieces."""
    usual: dict[str, Any] = {
        "status": 200,
        "ttft_seconds": 0.1,
        "gaps_seconds": [0.01, 0.01, 0.04],
        "total_seconds": 0.2,
        "finish_reason": "stop",
        "text": text,
        "completion_tokens": 4,
        "prompt_tokens": 9,
    }
    return Answer(**{**usual, **more})


def result(arm: ArmName, number: int = 0, *, said: Answer | None = None, **more: Any) -> Result:
    """A's or B's answer to call n, greedy."""
    usual: dict[str, Any] = {
        "number": number,
        "repeat": 0,
        "call": f"call-{number}",
        "conversation": f"call-{number}",
        "greedy": True,
        "started_at": 1000.0 + number,
        "checks": Checks(),
    }
    return Result(**{**usual, **more}, arm=arm, answer=said or answer())


def plan(calls: int, **more: Any) -> Plan:
    """Of replica a against replica b."""
    usual: dict[str, Any] = {
        "url": "http://127.0.0.1:8080",
        "model": "kimi-k2",
        "a": Arm("replica", "a"),
        "b": Arm("replica", "b"),
        "data": "calls.jsonl",
        "digest": "d",
        "calls": calls,
        "repeats": 1,
        "copies": 1,
        "seed": 7,
        "concurrency": 8,
        "rate": 0.0,
        "timeout_seconds": 600.0,
    }
    return Plan(**{**usual, **more})


def write_run(folder: Path, results: list[Result], **more: Any) -> Observed:
    """A folder as `compare run` leaves it, read again."""
    calls = len({each.number for each in results})
    write_record(folder, RunRecord(plan=plan(calls, **more), started_at=1000.0, environment={}))
    with ResultLog(folder) as log:
        for each in results:
            log.add(each)
    return observe(folder)
