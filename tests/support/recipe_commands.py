"""What the scripts of deploy/recipes would run: each is run with stand-ins for the engines, which only say what they were told."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

RECIPES = Path(__file__).resolve().parents[2] / "deploy" / "recipes"
PROGRAMS = ("vllm", "python3", "trtllm-serve", "llama-server")
# A recipe that is run on several machines, or in several roles, is as many commands.
NODES = [{"NODE_RANK": "0"}, {"NODE_RANK": "1"}]
VARIANTS: dict[str, list[dict[str, str]]] = {
    "vllm-16-h200-tp": NODES,
    "vllm-16-h200-dp-ep": NODES,
    "sglang-16-h200": NODES,
    "sglang-pd": [{"ROLE": role, "NODE_RANK": "0"} for role in ("prefill", "decode", "router")],
}
PLACES = {
    "MODEL": "/models/kimi-k2",
    "MASTER": "10.0.0.1",
    "LISTEN": "10.0.0.1",
    "IB_DEVICE": "mlx5_0",
    "PREFILL": "10.0.0.2",
    "DECODE": "10.0.0.3",
}
_STAND_IN = "#!/bin/sh\nexec {python} -S -c 'import json, sys; print(json.dumps(sys.argv[1:]))' {name} \"$@\"\n"


class Command(NamedTuple):
    """What one script runs in one of its variants."""

    recipe: str
    variant: str
    argv: list[str]

    @property
    def label(self) -> str:
        """For a test's id."""
        return f"{self.recipe}-{self.variant}" if self.variant else self.recipe

    @property
    def engine(self) -> str:
        """Whose recipe it is, as the installer calls it; the router of a pair is none."""
        names = ("vllm", "sglang", "ktransformers", "tensorrt-llm", "llama-cpp")
        engine = next(name for name in names if self.recipe.startswith(name))
        return "sglang-router" if "sglang_router.launch_router" in self.argv else engine

    @property
    def arguments(self) -> list[str]:
        """What the engine's own parser gets: what follows the program, its module or its sub-command."""
        skipped = {"vllm": 2, "sglang": 3, "sglang-router": 3, "ktransformers": 3, "tensorrt-llm": 2, "llama-cpp": 1}
        return self.argv[skipped[self.engine] :]

    def value(self, *options: str) -> str | None:
        """What stands behind one of these options."""
        for option, value in zip(self.argv, self.argv[1:], strict=False):
            if option in options:
                return value
        return None


def recipes() -> list[str]:
    """The name of each."""
    return sorted(script.stem for script in RECIPES.glob("*.sh"))


def commands() -> list[Command]:
    """Every command of every recipe."""
    with tempfile.TemporaryDirectory() as folder:
        for name in PROGRAMS:
            program = Path(folder) / name
            program.write_text(_STAND_IN.format(python=sys.executable, name=name))
            program.chmod(program.stat().st_mode | stat.S_IXUSR)
        return [
            _command(recipe, variant, folder)
            for recipe in recipes()
            for variant in VARIANTS.get(recipe, [dict[str, str]()])
        ]


def _command(recipe: str, variant: dict[str, str], folder: str) -> Command:
    said = subprocess.run(
        [RECIPES / f"{recipe}.sh"],
        env={**PLACES, **variant, "PATH": f"{folder}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return Command(recipe, variant.get("ROLE") or variant.get("NODE_RANK", ""), json.loads(said))
