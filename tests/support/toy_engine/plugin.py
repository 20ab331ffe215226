"""The plugin: a backend `toy` with a launcher, found by an entry point as anybody's would be."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

from backends.openai_compatible import OpenAICompatible
from gateway import Backend, Extension, Launcher, LaunchPlan, LaunchSettings, NoSettings, hookimpl

ENGINE = Path(__file__).with_name("engine.py")
INFO = "moegate_toy-1.0.dist-info"


class ToyLaunch(LaunchSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How it shall behave; `token` stands for a secret in the environment."""

    mode: str = "serves"
    token: str = ""


class ToyLauncher:
    """Starts the engine with the interpreter that runs."""

    settings: type[LaunchSettings] = ToyLaunch

    def plan(self, launch: ToyLaunch, *, served_model: str, max_concurrent: int) -> LaunchPlan:
        """Return what to run."""
        argv = (sys.executable, "-S", "-E", str(ENGINE), str(launch.port), launch.mode)
        environment = {"TOY_TOKEN": launch.token} if launch.token else {}
        return LaunchPlan(argv, environment, f"http://127.0.0.1:{launch.port}")


class Toy(OpenAICompatible):
    """The backend."""

    kind: ClassVar[str] = "toy"
    launcher: ClassVar[Launcher | None] = ToyLauncher()
    probe_path: ClassVar[str] = "/health"


@hookimpl
def moegate_backends() -> Iterable[Extension[Backend]]:
    """Register the backend."""
    return [Extension("toy", NoSettings, lambda _, __: Toy())]


def installed_in(folder: Path) -> dict[str, str]:
    """Put a distribution with the entry point into a folder, as pip would; the environment in which it is found."""
    root = Path(__file__).resolve().parents[3]
    (folder / INFO).mkdir(parents=True)
    (folder / INFO / "METADATA").write_text("Metadata-Version: 2.1\nName: moegate-toy\nVersion: 1.0\n")
    (folder / INFO / "entry_points.txt").write_text("[moegate]\ntoy = tests.support.toy_engine.plugin\n")
    return {"PYTHONPATH": f"{folder}:{root}"}
