"""Builds the routing policies: those of all models, and those of models that have a list of their own."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.composition.context import Builder
from gateway.composition.extensions import Named, build_policies
from gateway.plugin_manager import DEFAULT_ROUTING
from gateway.registry import Kind, Registry
from gateway.settings import Entry, Settings
from gateway.validation import readable


def routing_entries(settings: Settings, registry: Registry) -> Sequence[Entry]:
    """What stands under `policies.routing`, or the default list as far as its policies are registered."""
    if settings.policies.routing is not None:
        return settings.policies.routing
    known = {entry.extension.name for entry in registry if entry.kind is Kind.ROUTING_POLICY}
    return [{"use": name} for name in DEFAULT_ROUTING if name in known]


def build_routing(settings: Settings, builder: Builder) -> tuple[list[Named], dict[str, list[Named]]]:
    """The policies of all models, and by the model's name those of one that has its own list."""
    entries = routing_entries(settings, builder.registry)
    common = build_policies(entries, Kind.ROUTING_POLICY, ("policies", "routing"), builder)
    own = {
        model.name: build_policies(model.routing, Kind.ROUTING_POLICY, ("models", index, "routing"), builder)
        for index, model in readable(settings.models)
        if model.routing is not None
    }
    return common, own
