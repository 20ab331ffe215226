"""Counts calls for Prometheus and shows them, and what extensions count, at `/metrics`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from litestar import Response, get
from msgspec import Struct
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from gateway import (
    BuildContext,
    Call,
    Decision,
    Extension,
    Fleet,
    Metric,
    Outcome,
    Recorder,
    RouteProvider,
    hookimpl,
)
from plugins.prometheus.collectors import CountedCollector, FleetCollector, TaskCollector
from plugins.prometheus.counting import Counters

if TYPE_CHECKING:
    from litestar.types import ControllerRouterHandler


class PrometheusSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the metrics are, and whether a scraper needs a key."""

    path: str = "/metrics"
    public: bool = True


class Prometheus:
    """The recorder, and the provider of the one route that shows what it recorded."""

    def __init__(
        self,
        settings: PrometheusSettings,
        counters: Counters,
        fleet: Fleet,
        gather: Callable[[], Iterable[Metric]] = tuple,
    ) -> None:
        self._counters = counters
        own = (CountedCollector(counters.metrics, ()), FleetCollector(fleet), TaskCollector())
        taken = frozenset(family.name for collector in own for family in collector.collect())
        self._collectors: tuple[Collector, ...] = (*own, CountedCollector(gather, taken))
        self._settings = settings

    async def record(self, call: Call, outcome: Outcome, decision: Decision) -> None:
        """Count one call."""
        self._counters.count(call, outcome, decision)

    @property
    def handlers(self) -> Sequence[ControllerRouterHandler]:
        """The metrics page."""

        @get(self._settings.path, opt={"public": self._settings.public}, name="metrics", sync_to_thread=False)
        def metrics() -> Response[bytes]:
            body = b"".join(map(generate_latest, self._collectors))
            return Response(body, media_type=CONTENT_TYPE_LATEST)

        return [metrics]


def _build(settings: PrometheusSettings, context: BuildContext) -> Prometheus:
    return Prometheus(settings, context.shared(("prometheus",), Counters), context.fleet, context.metrics)


# One object for both hooks: it is built once, and the routes show what the recorder counted.
_EXTENSION = Extension("prometheus", PrometheusSettings, _build)


@hookimpl
def moegate_recorders() -> Iterable[Extension[Recorder]]:
    """Register the recorder."""
    return [_EXTENSION]


@hookimpl
def moegate_routes() -> Iterable[Extension[RouteProvider]]:
    """Register the route."""
    return [_EXTENSION]
