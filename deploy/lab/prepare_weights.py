#!/usr/bin/env python3
"""Makes the weights that some engines want in a form of their own, `python3 prepare_weights.py`; it starts no engine.

What to make is read from a table; each maker is a script that runs in the environment of the engine it works for.
"""

import argparse
import contextlib
import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from prepared_model import is_prepared, mark_prepared, weights_folder

HERE = Path(__file__).resolve().parent
INSTALLER = HERE / "engines" / "install.py"
HEARTBEAT_SECONDS = 10.0
LOCK_POLL_SECONDS = 0.25
LIMIT_SECONDS = 1800.0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_NOT_SUPPORTED = 3  # a maker's own: this CPU cannot
EXIT_STILL_LOCKED = 4
EXIT_INTERRUPTED = 130


@dataclass(frozen=True)
class Target:
    """One form of the weights: the engine it is for, the script that makes it and what to tell that script."""

    name: str
    engine: str
    script: str
    words: tuple[str, ...]
    by_default: bool = True


TARGETS = (
    Target("gguf", "llama-cpp", "prepare_weights_gguf.py", ("f32",)),
    Target("gguf-q8", "llama-cpp", "prepare_weights_gguf.py", ("q8_0",), by_default=False),
    Target("ktransformers-fp8", "ktransformers", "prepare_weights_experts.py", ("FP8",)),
    Target("ktransformers-rawint4", "ktransformers", "prepare_weights_experts.py", ("RAWINT4",)),
    Target("ktransformers-amxint8", "ktransformers", "prepare_weights_experts.py", ("AMXINT8",)),
    Target("ktransformers-amxint4", "ktransformers", "prepare_weights_experts.py", ("AMXINT4",), by_default=False),
)


class PreparationError(Exception):
    """What went wrong, for a person, and the exit code that says so to a program."""

    def __init__(self, message: str, code: int = EXIT_FAILED) -> None:
        super().__init__(message)
        self.code = code


class Preparation:
    """Makes targets of one model, one after the other."""

    def __init__(self, model: Path, wait_seconds: float) -> None:
        self._model = model
        self._wait_seconds = wait_seconds
        self._started = time.monotonic()
        self._root = weights_folder(model)

    def say(self, text: str) -> None:
        """Print one line under the time that has passed, at once, also into a pipe."""
        print(f"[weights {time.monotonic() - self._started:4.0f} s] {text}", flush=True)

    def folder(self, target: Target) -> Path:
        """Where a target lies, or will."""
        return self._root / target.name

    def make(self, target: Target) -> None:
        """Make one target unless it is there; of two calls at once one makes it and the other waits.

        Raises:
            PreparationError: the engine is not installed, the maker failed, or this CPU cannot.
        """
        folder, recipe = self.folder(target), _recipe(target)
        if is_prepared(folder, recipe):
            self.say(f"{target.name}: already there: {folder}")
            return
        python = _engine_python(target.engine)
        with self._only_maker():
            if is_prepared(folder, recipe):
                self.say(f"{target.name}: made meanwhile by another: {folder}")
                return
            # Made beside its place and moved there whole: an engine that starts meanwhile sees all of it or nothing.
            half = folder.with_name(f"{folder.name}.making")
            for leftover in (half, folder):
                shutil.rmtree(leftover, ignore_errors=True)
            half.mkdir()
            try:
                self._run(target, python, half)
            except PreparationError:
                shutil.rmtree(half)
                raise
            mark_prepared(half, recipe)
            half.rename(folder)
            self.say(f"{target.name}: ready: {folder}")

    @contextlib.contextmanager
    def _only_maker(self) -> Iterator[None]:
        self._root.mkdir(parents=True, exist_ok=True)
        deadline = time.monotonic() + self._wait_seconds
        with (self._root / ".lock").open("w") as lock:
            said = False
            while not _locked(lock.fileno()):
                if time.monotonic() >= deadline:
                    raise PreparationError("another preparation has not finished in time", EXIT_STILL_LOCKED)
                if not said:
                    self.say("another preparation of this model is running; waiting for it")
                    said = True
                time.sleep(LOCK_POLL_SECONDS)
            yield

    def _run(self, target: Target, python: Path, folder: Path) -> None:
        self.say(f"{target.name}: making it with {target.engine}'s own tools")
        log_path = self._root / f"{target.name}.log"
        command = [str(python), "-P", str(HERE / target.script), str(self._model), str(folder), *target.words]
        deadline = time.monotonic() + LIMIT_SECONDS
        with log_path.open("wb") as log:
            child = subprocess.Popen(  # noqa: S603 - our own script, and no shell
                command,
                cwd=folder,
                env={**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "PYTHONPATH": ""},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                while (code := _wait(child)) is None:
                    if time.monotonic() >= deadline:
                        raise PreparationError(f"{target.name}: not done after {LIMIT_SECONDS:.0f} s; see {log_path}")
                    self.say("  … still at it")
            finally:
                if child.poll() is None:
                    os.killpg(child.pid, signal.SIGKILL)
                    child.wait()
        if code:
            lines = log_path.read_text(errors="replace").strip().splitlines()
            if code == EXIT_NOT_SUPPORTED:
                raise PreparationError(f"{target.name}: {lines[-1] if lines else 'not for this CPU'}", code)
            raise PreparationError(
                "\n".join([f"{target.name}: ended with {code}; the end of {log_path}:", *lines[-25:]])
            )


def _recipe(target: Target) -> str:
    # Weights made by an older script are made again.
    text = (HERE / target.script).read_bytes() + repr(target.words).encode()
    return hashlib.sha256(text).hexdigest()


def _engine_python(engine: str) -> Path:
    command = [sys.executable, str(INSTALLER), engine, "--print-python"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own installer
    if found.returncode:
        raise PreparationError(f"{engine} is not installed; run `make engine-{engine}`", EXIT_USAGE)
    return Path(found.stdout.strip())


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _wait(child: subprocess.Popen[bytes]) -> int | None:
    try:
        return child.wait(timeout=HEARTBEAT_SECONDS)
    except subprocess.TimeoutExpired:
        return None


def _arguments() -> argparse.Namespace:
    names = [target.name for target in TARGETS]
    parser = argparse.ArgumentParser(description="Make the weights that llama.cpp and KTransformers want.")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of: {', '.join(names)}; default: what is usual")
    parser.add_argument("--model", type=Path, default=HERE / "k2-tiny", help="the model folder")
    parser.add_argument("--print-folder", action="store_true", help="make nothing, print where the targets lie")
    parser.add_argument("--wait-minutes", type=float, default=30.0, help="how long to wait for another preparation")
    asked = parser.parse_args()
    if unknown := sorted(set(asked.targets) - set(names)):
        parser.error(f"no such target: {', '.join(unknown)} (there are: {', '.join(names)})")
    if not (asked.model / "config.json").is_file():
        parser.error(f"{asked.model} holds no model: there is no config.json in it")
    return asked


def main() -> int:
    """Make what was asked for; without a wish, all that is usual and that this CPU can."""
    asked = _arguments()
    signal.signal(signal.SIGTERM, _interrupt)
    preparation = Preparation(asked.model.resolve(), asked.wait_minutes * 60)
    chosen = [target for target in TARGETS if (target.name in asked.targets if asked.targets else target.by_default)]
    try:
        for target in chosen:
            if asked.print_folder:
                print(preparation.folder(target))
                continue
            try:
                preparation.make(target)
            except PreparationError as error:
                if error.code != EXIT_NOT_SUPPORTED or asked.targets:
                    raise
                preparation.say(f"left out: {error}")
    except PreparationError as error:
        print(error, file=sys.stderr)
        return error.code
    except KeyboardInterrupt:
        print("interrupted; the next call starts afresh", file=sys.stderr)
        return EXIT_INTERRUPTED
    return 0


def _interrupt(_number: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
