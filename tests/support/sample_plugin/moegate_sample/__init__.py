"""What this package registers; moegate imports it by the entry point `sample` and calls these hooks once, at start-up."""

from __future__ import annotations

from collections.abc import Iterable

from gateway import Backend, Extension, RoutingPolicy, hookimpl
from moegate_sample.sample_engine import SampleEngineSettings, build_engine
from moegate_sample.sticky import StickySettings, build_sticky


@hookimpl
def moegate_backends() -> Iterable[Extension[Backend]]:
    """Register the backend; a replica uses it by `backend: sample_engine`."""
    return [Extension("sample_engine", SampleEngineSettings, build_engine)]


@hookimpl
def moegate_routing_policies() -> Iterable[Extension[RoutingPolicy]]:
    """Register the policy; `policies.routing` uses it by `use: sticky`."""
    return [Extension("sticky", StickySettings, build_sticky)]
