"""Builds the sources of targets and adds to each model the replicas that they have told of; waits for none of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import msgspec
import structlog
from msgspec import Struct
from msgspec.structs import replace

from gateway.composition.context import Builder
from gateway.config_file import Path
from gateway.contracts.targets import ImmediateSource, Target, TargetSource
from gateway.errors import ConfigError
from gateway.fleet.target_sources import TargetSources
from gateway.fleet.targets import Listed, WatchedSource
from gateway.registry import Kind
from gateway.settings import Entry, ModelSettings, ReplicaSettings, Settings, SourceSettings
from gateway.validation import Invalid, Place, readable

log = structlog.get_logger("moegate.targets")

_OWN = frozenset(field.encode_name for field in msgspec.structs.fields(SourceSettings))


class BuiltSource(Struct, frozen=True, eq=False):
    """One item of a model's `targets`."""

    model: int
    path: Path
    settings: SourceSettings
    watched: WatchedSource

    @property
    def name(self) -> str:
        """What it is called: by its kind and its place, as a model may have two of a kind."""
        return f"{self.watched.name}-{self.path[-1]}"


def with_targets(settings: Settings, builder: Builder) -> tuple[Settings, TargetSources]:
    """The settings with the replicas that are known after each model's own; faults are noted with the builder."""
    sources = [
        source
        for index, model in readable(settings.models)
        for position, entry in readable(model.targets)
        if (source := _source(model, entry, ("models", index, "targets", position), builder)) is not None
    ]
    taken = {replica.name for _, model in readable(settings.models) for _, replica in readable(model.replicas)}
    models = list(settings.models)
    for source in sources:
        models[source.model] = _filled(models[source.model], source, taken, builder)
    for index, model in readable(models):
        known = all(source.watched.listed is not None for source in sources if source.model == index)
        if model.targets and not model.replicas and known and not builder.validator.problems:
            builder.validator.problem(("models", index, "targets"), "a model needs at least one replica")
    found = TargetSources([(source.name, source.watched) for source in sources])
    if sources:
        builder.meters.add("targets", found)
    return replace(settings, models=models), found


def _source(model: ModelSettings, entry: Entry, path: Path, builder: Builder) -> BuiltSource | None:
    """Build one source, or find the one that an earlier runtime has built."""
    problem = builder.validator.problem
    use = entry.get("use")
    if not isinstance(use, str) or not use:
        problem((*path, "use"), "missing; it must be the name of a source of targets (see `moegate plugins`)")
        return None
    own = {key: value for key, value in entry.items() if key in _OWN}
    settings = builder.validator.extension_settings(own, SourceSettings, path)
    if isinstance(settings, Invalid):
        return None
    rest = {key: value for key, value in entry.items() if key != "use" and key not in _OWN}

    def build() -> WatchedSource:
        extension = builder.registry.get(Kind.TARGET_SOURCE, use)
        built: TargetSource | None = builder.build(extension, rest, path)
        if built is None:
            raise ConfigError
        return WatchedSource(model.name, use, built, settings)

    digest = hashlib.sha256(msgspec.json.encode(entry, order="deterministic", enc_hook=str)).hexdigest()
    try:
        watched = builder.shared(("targets", model.name, digest), build)
    except ConfigError as error:
        for text in error.problems:  # there is none where the build has noted its own
            problem((*path, "use"), text)
        return None
    builder.meters.add(use, watched.source)
    index = path[1]
    if not isinstance(index, int):
        raise TypeError("models stand in a list")
    if not isinstance(watched.source, ImmediateSource):
        _check_common(settings, model, path, builder)
    return BuiltSource(index, path, settings, watched)


def _check_common(settings: SourceSettings, model: ModelSettings, path: Path, builder: Builder) -> None:
    """Check what all replicas have in common before there is any: a fault must be found before a gateway starts."""
    where = (*path, "replica")
    validator = builder.validator
    for name in ("url", "launch"):
        if name in settings.replica:
            validator.problem((*where, name), "each replica's address is what the source finds")
    example = {**settings.replica, "name": model.name, "url": "http://example"}
    example.pop("launch", None)
    found = validator.struct(example, ReplicaSettings, where)
    if isinstance(found, Invalid):
        return
    try:
        extension = builder.registry.get(Kind.BACKEND, found.backend)
    except ConfigError as error:
        validator.problem((*where, "backend"), error.message)
    else:
        builder.build(extension, found.options, (*where, "options"))


def _filled(model: ModelSettings, source: BuiltSource, taken: set[str], builder: Builder) -> ModelSettings:
    """The model with what this source has told of."""
    validator = builder.validator
    try:
        source.watched.look()
    except ConfigError as error:
        validator.problems += error.problems
        return model
    listed = source.watched.offer()
    if listed is None:
        return model
    replicas = list(model.replicas)
    for item, place in _items(model, source, listed, builder):
        if place.path == (*source.path, "replica"):
            if item["name"] in taken:
                log.warning("target left out, its name is taken", model=model.name, replica=item["name"])
                continue
            taken.add(item["name"])
        path = ("models", source.model, "replicas", len(replicas))
        validator.locate(path, place)
        replicas.append(validator.struct(item, ReplicaSettings, path))  # type: ignore[arg-type]  # as `readable` knows
    return replace(model, replicas=replicas)


def _items(
    model: ModelSettings, source: BuiltSource, listed: Listed, builder: Builder
) -> Iterator[tuple[dict[str, Any], Place]]:
    """Each replica as it would stand in the configuration, and where it was written."""
    common = source.settings.replica
    if listed.document is not None and listed.text is not None:
        for position, item in enumerate(listed.document.content):
            place = Place(listed.document, (position,), listed.text.name)
            yield (({**common, **item} if isinstance(item, dict) else item), place)
        return
    begin = common.get("name", model.name)
    for target in listed.targets:
        place = Place(builder.validator.document, (*source.path, "replica"), f"what {source.name} found")
        yield {**common, **_settings_of(target), "name": f"{begin}-{target.name or _digest(target.url)}"}, place


def _settings_of(target: Target) -> dict[str, Any]:
    found: dict[str, Any] = {"url": target.url, "labels": dict(target.labels)}
    # What the source does not say may stand among what all have in common.
    if target.weight != 1.0:
        found["weight"] = target.weight
    if target.tier:
        found["tier"] = target.tier
    return found


def _digest(url: str) -> str:
    """A name that callers may see: it tells of no address."""
    return hashlib.sha256(url.encode()).hexdigest()[:8]
