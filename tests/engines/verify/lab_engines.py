"""One engine of the lab beside the reference, as it should be or with one thing wrong; it must not know what is found of that."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.engines.conformance.live_engines import START_SECONDS, config, installed, lab_replica
from tests.engines.verify.conftest import Json, Verified, run_verify
from tests.engines.verify.variants import K2_TINY, ROOT
from tests.support.gateway_process import gateway_process, poll

REFERENCE = "torch_reference"
PREPARE = ROOT / "deploy" / "lab" / "prepare_weights.py"
NOT_FOR_THIS_CPU = 3
PREPARE_SECONDS = 900
# Engines that are busy, on a machine that is, take longer than a gateway alone.
STOP_SECONDS = 120.0


@dataclass(frozen=True)
class Case:
    """An engine, and in what it is not as the lab starts it.

    Attributes:
        variant: makes the checkpoint that it serves from k2-tiny, in a folder of its own.
        target: which of `prepare_weights.py`'s forms to make of that checkpoint first.
        method: KTransformers' word for that form.
        weight_format: what the configuration declares of it.
    """

    engine: str
    variant: Callable[[Path, Path], Path] | None = None
    target: str | None = None
    method: str | None = None
    weight_format: str | None = None

    def replica(self, folder: Path) -> Json:
        """The configuration that starts it."""
        replica = lab_replica(self.engine)
        model = K2_TINY if self.variant is None else self.variant(K2_TINY, folder / "variant")
        replica["launch"]["model"] = str(model)
        if self.target is not None:
            # What is made of k2-tiny is kept with the lab's; what is made of a variant goes with this test.
            weights = prepared(self.target, model, None if self.variant is None else folder / "weights")
            if self.method is None:
                replica["launch"]["gguf"] = str(weights / "model.gguf")
        if self.method is not None:
            replica["launch"]["method"] = self.method
        if self.weight_format is not None:
            replica["checkpoint"] = checkpoint(self.weight_format)
        return replica


def checkpoint(weight_format: str) -> Json:
    """What the configuration says of k2-tiny in one form or another."""
    return {"id": "moegate/k2-tiny", "licence": "mit", "context_length": 8192, "weight_format": weight_format}


def prepared(target: str, model: Path, root: Path | None) -> Path:
    """Where a form of a checkpoint's weights lies, made now if it is not there yet: under a folder, or where the lab keeps them.

    Raises:
        Skipped: this CPU cannot run, and so cannot make, that form.
    """
    command = [sys.executable, str(PREPARE), target, "--model", str(model)]
    where = os.environ | ({"MOEGATE_WEIGHTS_DIR": str(root)} if root is not None else {})
    made = subprocess.run(command, capture_output=True, text=True, timeout=PREPARE_SECONDS, env=where, check=False)
    if made.returncode == NOT_FOR_THIS_CPU:
        pytest.skip(made.stderr.strip())
    assert made.returncode == 0, made.stdout + made.stderr
    command.append("--print-folder")
    named = subprocess.run(command, capture_output=True, text=True, timeout=60, env=where, check=True)
    return Path(named.stdout.strip())


def verified(case: Case, folder: Path) -> Verified:
    """Start the engine and the reference as the lab does, and run the command on them."""
    installed(case.engine)
    installed(REFERENCE)
    started = {REFERENCE: lab_replica(REFERENCE), case.engine: case.replica(folder)}
    with gateway_process(config(started), folder, ready_path="/healthz") as gateway:
        poll(gateway.at_rest, f"{case.engine} is ready:\n{gateway.log[-3000:]}", START_SECONDS)
        replicas = [
            {
                "name": name,
                "backend": name,
                "url": f"http://127.0.0.1:{replica['launch']['port']}",
                "served_model": f"on-{name}",
                **({"checkpoint": replica["checkpoint"]} if "checkpoint" in replica else {}),
            }
            for name, replica in started.items()
        ]
        found = run_verify(folder, "engines.yaml", replicas)
        gateway.send_signal(signal.SIGTERM)
        assert gateway.wait_exit(STOP_SECONDS) == 0, f"the gateway ended badly:\n{gateway.log[-4000:]}"
    return found
