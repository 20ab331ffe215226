"""Builds one engine's virtual environment, once, whoever asks how often; it must not touch a folder that is not its own."""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from engine_recipe import PYTHON_HERE, Recipe, Step

# Written last: the gateway takes a folder without it for a half-finished one.
MARKER = ".moegate-installed"
BUILDING = ".moegate-building"
# Each of these would make a step install somewhere else than into the environment being built; the last would keep a recipe's
# check from compiling what it imports, and the engine's first start would pay for it.
FOREIGN_VARIABLES = {
    *("PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV", "PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT"),
    "PYTHONDONTWRITEBYTECODE",
}
CREATE_LIMIT_SECONDS = 600.0
HEARTBEAT_SECONDS = 10.0
LOCK_POLL_SECONDS = 0.25
TAIL_LINES = 25
TAIL_BYTES = 16384
GIB = 1 << 30


class InstallError(Exception):
    """What stopped an install, for a person to read."""


class StepFailed(InstallError):
    """A step ended badly or not at all; the message carries the end of the log."""


class NoSpace(InstallError):
    """The disk holds less than the recipe asks for."""


class StillLocked(InstallError):
    """Another install of the same engine did not finish in time."""


class ForeignFolder(InstallError):
    """The environment's place is taken by something that this installer did not make."""


class Progress:
    """Says what happens and when, at once, also into a pipe: an install takes minutes and silence looks like a hang."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._started = time.monotonic()

    def say(self, text: str) -> None:
        """Print one line under the time that has passed."""
        sys.stdout.write(f"[{self._label} {time.monotonic() - self._started:4.0f} s] {text}\n")
        sys.stdout.flush()


class Environment:
    """One engine's virtual environment, with the lock and the log that lie beside it."""

    def __init__(self, recipe: Recipe, engines: Path) -> None:
        self.recipe = recipe
        self.path = engines / f"{recipe.name}-{recipe.version}"
        self.python = self.path / "bin" / "python"
        self._lock_path = engines / f"{self.path.name}.lock"
        self._log_path = engines / f"{self.path.name}.log"

    def is_ready(self) -> bool:
        """True when the environment was finished, and from this very recipe."""
        try:
            marker = json.loads((self.path / MARKER).read_bytes())
        except (OSError, ValueError):
            return False
        same = isinstance(marker, dict) and marker.get("digest") == self.recipe.digest
        return same and os.access(self.python, os.X_OK)

    def install(self, progress: Progress, wait_seconds: float) -> None:
        """Build the environment unless it is there; of two calls at once one builds and the other waits for it.

        Raises:
            InstallError: one of its kinds, with what to do about it.
        """
        if self.is_ready():
            progress.say(f"already installed: {self.path}")
            return
        with self._only_installer(progress, wait_seconds) as lock:
            if self.is_ready():
                progress.say(f"installed meanwhile by another: {self.path}")
                return
            self._remove_leftover(progress)
            self._require_space()
            self._build(progress, lock)
            progress.say(f"ready: {self.path}")

    @contextmanager
    def _only_installer(self, progress: Progress, wait_seconds: float) -> Iterator[IO[str]]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        deadline = time.monotonic() + wait_seconds
        next_word = 0.0
        with self._lock_path.open("w") as lock:
            while not _locked(lock):
                now = time.monotonic()
                if now >= deadline:
                    raise StillLocked(f"another install of {self.path.name} has not finished in {wait_seconds:.0f} s")
                if now >= next_word:
                    progress.say("another install of this engine is running; waiting for it")
                    next_word = now + HEARTBEAT_SECONDS
                time.sleep(LOCK_POLL_SECONDS)
            yield lock

    def _remove_leftover(self, progress: Progress) -> None:
        # An environment cannot be moved, so it is built in its place, and without its marker it is worth nothing.
        if not self.path.exists():
            return
        ours = any((self.path / name).exists() for name in (MARKER, BUILDING, "pyvenv.cfg"))
        if not ours and any(self.path.iterdir()):
            raise ForeignFolder(f"{self.path} was not made by this installer; move it away first")
        finished = (self.path / MARKER).exists()
        progress.say("its recipe has changed: rebuilding" if finished else "removing an unfinished install")
        shutil.rmtree(self.path)

    def _require_space(self) -> None:
        free_gib = shutil.disk_usage(self.path.parent).free / GIB
        if free_gib < self.recipe.disk_gib:
            raise NoSpace(
                f"{self.path.parent} has {free_gib:.1f} GiB free, {self.recipe.name} needs {self.recipe.disk_gib:g}; "
                "free some, or point MOEGATE_ENGINES_DIR to a larger disk"
            )

    def _build(self, progress: Progress, lock: IO[str]) -> None:
        if self.recipe.tested_python != PYTHON_HERE:
            progress.say(f"note: tried with Python {self.recipe.tested_python}, this is {PYTHON_HERE}")
        progress.say(f"building {self.path} (log: {self._log_path})")
        self.path.mkdir()
        (self.path / BUILDING).touch()
        steps = self.recipe.steps
        without_pip = () if any(step.needs_pip for step in steps) else ("--without-pip",)
        create = Step("virtual environment", ("-m", "venv", *without_pip, str(self.path)), False, CREATE_LIMIT_SECONDS)
        with self._log_path.open("wb") as log:
            for number, step in enumerate((create, *steps)):
                progress.say(f"step {number + 1}/{len(steps) + 1}: {step.title}")
                log.write(f"\n== {step.title}\n".encode())
                log.flush()
                interpreter = sys.executable if step is create else str(self.python)
                self._run(step, interpreter, log, lock, progress)
        (self.path / BUILDING).unlink()
        marker = {"engine": self.recipe.name, "version": self.recipe.version, "digest": self.recipe.digest}
        half_written = self.path / f"{MARKER}.new"
        half_written.write_text(json.dumps(marker) + "\n")
        half_written.replace(self.path / MARKER)

    def _run(self, step: Step, interpreter: str, log: IO[bytes], lock: IO[str], progress: Progress) -> None:
        deadline = time.monotonic() + step.limit_seconds
        # The child holds the lock too: should this process be killed, nobody clears the folder under a living pip.
        child = subprocess.Popen(  # noqa: S603 - our own interpreter with the recipe's arguments, and no shell
            [interpreter, *step.arguments],
            cwd=self.recipe.folder,
            env={key: value for key, value in os.environ.items() if key not in FOREIGN_VARIABLES},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=(lock.fileno(),),
            start_new_session=True,
        )
        try:
            while (code := _wait(child, min(HEARTBEAT_SECONDS, deadline - time.monotonic()))) is None:
                if time.monotonic() >= deadline:
                    raise StepFailed(f"{step.title}: not done after {step.limit_seconds:.0f} s\n{self._log_end()}")
                progress.say(f"  … still at it: {_tail(self._log_path, 1)[:100]}")
        finally:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
        if code != 0:
            raise StepFailed(f"{step.title}: ended with {code}\n{self._log_end()}")

    def _log_end(self) -> str:
        return f"the end of {self._log_path}:\n{_tail(self._log_path, TAIL_LINES)}"


def _locked(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _wait(child: subprocess.Popen[bytes], seconds: float) -> int | None:
    try:
        return child.wait(timeout=max(0.0, seconds))
    except subprocess.TimeoutExpired:
        return None


def _tail(path: Path, lines: int) -> str:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL_BYTES))
        return "\n".join(file.read().decode(errors="replace").strip().splitlines()[-lines:])
