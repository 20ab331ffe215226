"""Adds the replicas that stand in files of their own (`models[].targets`) to a configuration; checks nothing else of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from msgspec.structs import replace

from gateway import config_file
from gateway.config_file import Document
from gateway.errors import ConfigError


def files_of(document: Document) -> list[Path]:
    """The files that the models name, relative to the working directory, as the configuration's other files are."""
    return [Path(model["targets"]) for model in _models(document) if isinstance(model.get("targets"), str)]


def with_targets(document: Document) -> Document:
    """The document with each file's replicas after the model's own.

    Raises:
        ConfigError: a file cannot be read, or is no list.
    """
    if not files_of(document):
        return document
    problems = list(document.problems)
    models = []
    for model in document.content["models"]:
        if not isinstance(model, dict) or not isinstance(model.get("targets"), str):
            models.append(model)
            continue
        own = model.get("replicas", [])
        found = _read(Path(model["targets"]), problems)
        models.append({**model, "replicas": [*own, *found]} if isinstance(own, list) else model)
    return replace(document, content={**document.content, "models": models}, problems=tuple(problems))


def _read(file: Path, problems: list[str]) -> list[Any]:
    found = config_file.read(file)
    problems += [f"{file}: {problem}" for problem in found.problems]
    if not isinstance(found.content, list):
        raise ConfigError(f"{file}: must be a list of replicas; an empty one is []")
    return found.content


def _models(document: Document) -> list[dict[str, Any]]:
    models = document.content.get("models") if isinstance(document.content, dict) else None
    return [model for model in models if isinstance(model, dict)] if isinstance(models, list) else []
