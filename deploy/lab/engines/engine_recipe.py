"""Reads an engine's recipe: what its environment is called and which steps make it; it runs none of them."""

import difflib
import hashlib
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

# Compiling every module of such an install costs minutes; the check at the end of a recipe compiles those that matter.
PIP_INSTALL = (
    *("-m", "pip", "install", "--no-compile"),
    *("--no-input", "--disable-pip-version-check", "--progress-bar", "off"),
)
DEFAULT_LIMIT_MINUTES = 60
PYTHON_HERE = f"{sys.version_info.major}.{sys.version_info.minor}"


class RecipeError(Exception):
    """There is no such recipe, or it is malformed."""


@dataclass(frozen=True)
class Step:
    """One command of the environment's interpreter, run in the recipe's folder."""

    title: str
    arguments: tuple[str, ...]
    needs_pip: bool
    limit_seconds: float


@dataclass(frozen=True)
class Recipe:
    """An engine as data."""

    name: str
    version: str
    folder: Path
    disk_gib: float
    tested_python: str
    steps: tuple[Step, ...]
    digest: str


def load_recipe(folder: Path, name: str) -> Recipe:
    """Read NAME's recipe; its digest covers everything that decides what gets installed.

    Raises:
        RecipeError: there is none of that name, or it does not have the shape that README.md describes.
    """
    known = sorted(found.stem.replace("_", "-") for found in folder.glob("*.toml"))
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise RecipeError(f"no recipe for an engine {name!r}{hint} (there are: {', '.join(known) or 'none'})")
    path = folder / f"{name.replace('-', '_')}.toml"
    try:
        text = path.read_bytes()
        data = tomllib.loads(text.decode())
        # An environment belongs to one version of Python, so that is a part of what it was made from.
        digest = hashlib.sha256(PYTHON_HERE.encode() + b"\0" + text)
        for file in data.get("files", []):
            digest.update(b"\0" + file.encode() + b"\0" + (folder / file).read_bytes())
        return Recipe(
            name=data["name"],
            version=data["version"],
            folder=folder,
            disk_gib=float(data["disk_gib"]),
            tested_python=data["tested_python"],
            steps=tuple(_step(entry) for entry in data["steps"]),
            digest=digest.hexdigest(),
        )
    except KeyError as error:
        raise RecipeError(f"{path.name}: {error} is missing") from error
    except (TypeError, ValueError, OSError) as error:
        raise RecipeError(f"{path.name}: {error}") from error


def _step(entry: Mapping[str, object]) -> Step:
    if set(entry) - {"title", "pip", "python", "limit_minutes"} or ("pip" in entry) == ("python" in entry):
        raise ValueError(f"a step has a title, either 'pip' or 'python', and maybe limit_minutes: {dict(entry)}")
    needs_pip = "pip" in entry
    words = entry["pip" if needs_pip else "python"]
    limit_minutes = entry.get("limit_minutes", DEFAULT_LIMIT_MINUTES)
    if not isinstance(words, list) or not isinstance(limit_minutes, int | float):
        raise TypeError(f"a step's arguments are a list and its limit a number: {dict(entry)}")
    arguments = (*(PIP_INSTALL if needs_pip else ()), *(str(word) for word in words))
    return Step(str(entry["title"]), arguments, needs_pip, limit_minutes * 60.0)
