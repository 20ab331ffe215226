"""Whole verifications of one small engine by another."""

from __future__ import annotations

from typing import Any

from plugins.engine_verify.prompts import FIXED_SET
from plugins.engine_verify.report import ModelReport, ReplicaReport
from plugins.engine_verify.settings import Precision
from plugins.engine_verify.verifying import Task, verify_model
from tests.unit.plugins.engine_verify.small_engine import SmallBackend, SmallEngine, access, client

TASK = Task(FIXED_SET, 12, precision=Precision.FLOAT32)
ALL_SAME = {
    "model": "same",
    "tokenizer": "same",
    "template": "same",
    "tools": "same",
    "greedy": "same",
    "logprobs": "same",
}


def verdicts(report: ReplicaReport) -> dict[str, str]:
    return {finding.check.value: finding.verdict.value for finding in report.findings}


async def verified(
    engine: SmallEngine, *, backend: SmallBackend | None = None, task: Task = TASK, **changes: Any
) -> ModelReport:
    async with client(reference=SmallEngine(), candidate=engine) as http:
        other = access("candidate", backend, **changes)
        return await verify_model("kimi-k2", access("reference"), [other], task, http)
