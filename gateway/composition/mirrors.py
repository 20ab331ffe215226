"""Builds the mirrors that models ask for; sends nothing."""

from __future__ import annotations

import secrets
from fnmatch import fnmatchcase

import msgspec

from gateway.composition.context import Builder
from gateway.dataplane.copying import Copying
from gateway.dataplane.mirror_counts import MirrorCounts
from gateway.dataplane.mirroring import Mirror, Mirroring
from gateway.fleet.pooled_fleet import PooledFleet
from gateway.registry import nearest
from gateway.settings import MirrorSettings, ModelSettings, Settings
from gateway.validation import readable


def build_mirroring(settings: Settings, fleet: PooledFleet, copying: Copying, builder: Builder) -> Mirroring | None:
    """What copies calls; None where no model wants that."""
    mirrors = {
        model.name: mirror
        for index, model in readable(settings.models)
        if model.mirror is not None and (mirror := _mirror(index, model, model.mirror, fleet, builder)) is not None
    }
    if not mirrors:
        return None
    mirroring = Mirroring(copying, mirrors)
    builder.meters.add("mirror", mirroring)
    return mirroring


def _mirror(
    index: int, model: ModelSettings, settings: MirrorSettings, fleet: PooledFleet, builder: Builder
) -> Mirror | None:
    path, problem = ("models", index, "mirror"), builder.validator.problem
    pools = {pool.model.name: pool for pool in fleet.pools}
    pool = pools.get(settings.to)
    if pool is None:
        problem((*path, "to"), f"there is no model {settings.to!r}; {nearest(settings.to, pools)}")
        return None
    if settings.to == model.name and not settings.replicas:
        problem(
            (*path, "replicas"), "missing; a model's calls can be copied to some of its own replicas, but not to all"
        )
    found_later = any(each.model == settings.to for each in fleet.target_sources())
    for position, pattern in enumerate(settings.replicas):
        if not found_later and not any(fnmatchcase(member.replica.name, pattern) for member in pool.members):
            problem((*path, "replicas", position), f"no replica of {settings.to} is named {pattern!r}")
    key = ("mirror", model.name, msgspec.json.encode(settings).decode())
    counts = builder.shared(key, MirrorCounts)
    return Mirror(settings, pool, counts, builder.shared(("mirror", "key"), lambda: secrets.token_bytes(32)))
