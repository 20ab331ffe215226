"""Starts the engines that the configuration says to `launch:`, and keeps them running; runs whether named or not."""

from __future__ import annotations

from collections.abc import Iterable

from gateway import Extension, Service, hookimpl
from plugins.engine_supervisor.supervisor import SupervisorSettings, build


@hookimpl
def moegate_services() -> Iterable[Extension[Service]]:
    """Register the service."""
    return [Extension("engine_supervisor", SupervisorSettings, build, automatic=True)]
