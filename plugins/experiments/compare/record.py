"""What a run was: `run.json`, written before its first call, so that it can be gone on with and nobody need guess afterwards."""

from __future__ import annotations

import platform
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from gateway.errors import ConfigError
from plugins.experiments.compare.arms import Arm, Order

RECORD = "run.json"


class Plan(Struct, frozen=True, kw_only=True):
    """What makes two runs the same: they ask the same calls of the same arms in the same order.

    Attributes:
        model: the served name.
        calls, digest: how many the data hold, and their SHA-256.
        copies: 2 with a null arm, else 1.
        changes: what is put into every body.
        concurrency: calls under way at most. rate: calls begun a second at most; 0 is no bound.
    """

    url: str
    model: str
    a: Arm
    b: Arm
    data: str
    digest: str
    calls: int
    repeats: int
    copies: int
    seed: int
    concurrency: int
    rate: float
    timeout_seconds: float
    changes: dict[str, Any] = {}

    @property
    def order(self) -> Order:
        """What is asked, and in which order."""
        return Order(calls=self.calls, repeats=self.repeats, copies=self.copies, seed=self.seed)


class RunRecord(Struct, frozen=True, kw_only=True):
    """`run.json`.

    Attributes:
        replicas: those of each arm as the gateway tells them to a key with `admin:read`; None where it does not.
        environment: of the machine that asked: versions, system.
    """

    plan: Plan
    started_at: float
    environment: dict[str, str]
    replicas: dict[str, list[dict[str, Any]]] | None = None


def new_record(plan: Plan, replicas: list[dict[str, Any]] | None) -> RunRecord:
    """Of a run that begins now."""
    of_arms = None
    if replicas is not None:
        of_arms = {
            side: [each for each in replicas if each["model"] == plan.model and _is(each, arm)]
            for side, arm in (("a", plan.a), ("b", plan.b))
        }
    environment = {
        "moegate": version("moegate"),
        "python": platform.python_version(),
        "system": platform.platform(),
        "machine": platform.machine(),
    }
    return RunRecord(plan=plan, started_at=time.time(), environment=environment, replicas=of_arms)


def _is(replica: dict[str, Any], arm: Arm) -> bool:
    return bool((replica["name"] if arm.kind == "replica" else replica["backend"]) == arm.name)


def read_record(folder: Path) -> RunRecord | None:
    """The record of a run; None where there is none.

    Raises:
        ConfigError: the file is damaged.
    """
    file = folder / RECORD
    try:
        return msgspec.json.decode(file.read_bytes(), type=RunRecord)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: no record of a run: {error}") from error


def write_record(folder: Path, record: RunRecord) -> None:
    """Write it in one step."""
    new = folder / f"{RECORD}.new"
    new.write_bytes(msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n")
    new.replace(folder / RECORD)


# What may differ when a run is gone on with: where the gateway is, and how hard it is asked.
_MAY_CHANGE = ("url", "data", "concurrency", "rate")


def check_same(folder: Path, before: Plan, now: Plan) -> None:
    """Refuse to mix two runs in one folder.

    Raises:
        ConfigError: they differ, and in what.
    """
    told, asked = msgspec.to_builtins(before), msgspec.to_builtins(now)
    faults = [
        f"{folder}: holds a run with {key} {told[key]!r}, not {asked[key]!r}; name another folder"
        for key in told
        if key not in _MAY_CHANGE and told[key] != asked[key]
    ]
    if faults:
        raise ConfigError(*faults)
