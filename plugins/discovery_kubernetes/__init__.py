"""Registers the source of targets `kubernetes`: the ready endpoints of a service, watched through its EndpointSlices."""

from __future__ import annotations

from collections.abc import Iterable

from gateway import BuildContext, Extension, TargetSource, hookimpl
from plugins.discovery_kubernetes.settings import KubernetesSettings, check
from plugins.discovery_kubernetes.source import KubernetesSource


def _build(settings: KubernetesSettings, _: BuildContext) -> TargetSource:
    check(settings)
    return KubernetesSource(settings)


@hookimpl
def moegate_target_sources() -> Iterable[Extension[TargetSource]]:
    """Register the source."""
    return [Extension("kubernetes", KubernetesSettings, _build)]
