"""Counts calls for Prometheus and shows them, and what extensions count, at `/metrics`; no caller can make a label."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

from litestar import Response, get
from msgspec import Struct
from prometheus_client import CollectorRegistry, Counter
from prometheus_client import Histogram as PrometheusHistogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.core import Metric as Family
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from gateway import (
    BuildContext,
    Call,
    Decision,
    Extension,
    Fleet,
    Histogram,
    Metric,
    MetricKind,
    Outcome,
    Recorder,
    ReplicaState,
    RouteProvider,
    Usage,
    hookimpl,
)
from gateway.contracts.metrics import SECONDS

if TYPE_CHECKING:
    from litestar.types import ControllerRouterHandler

MetricT = TypeVar("MetricT", Counter, PrometheusHistogram)

# Callers choose the names of parameters; those of the APIs become labels, all others share one.
KNOWN_PARAMS = frozenset({
    "add_generation_prompt", "audio", "best_of", "bootstrap_host", "bootstrap_port", "bootstrap_room", "cache_prompt",
    "cache_salt", "chat_template", "chat_template_kwargs", "continue_final_message", "custom_labels", "echo",
    "extra_key", "frequency_penalty", "function_call", "functions", "grammar", "guided_choice",
    "guided_decoding_backend", "guided_grammar", "guided_json", "guided_regex", "ignore_eos", "include",
    "include_reasoning", "instructions", "json_schema", "kv_transfer_params", "length_penalty", "logit_bias",
    "logprobs", "lora_path", "max_completion_tokens", "max_output_tokens", "max_tokens", "max_tool_calls",
    "mcp_servers", "metadata", "min_p", "min_tokens", "modalities", "n", "n_probs", "no_stop_trim",
    "parallel_tool_calls", "prediction", "presence_penalty", "priority", "prompt_cache_key", "prompt_cache_retention",
    "prompt_logprobs", "reasoning", "reasoning_content", "reasoning_effort", "regex", "repetition_penalty",
    "request_id", "response_format", "return_token_ids", "rid", "safety_identifier", "samplers", "seed",
    "separate_reasoning", "service_tier", "session_id", "session_params", "skip_special_tokens",
    "spaces_between_special_tokens", "stop", "stop_regex", "stop_sequences", "stop_token_ids", "store",
    "stream_options", "stream_reasoning", "structured_outputs", "suffix", "temperature", "text", "thinking",
    "thinking_token_budget", "tool_choice", "tools", "top_k", "top_logprobs", "top_p", "truncate_prompt_tokens",
    "truncation", "typical_p", "use_beam_search", "user", "verbosity", "vllm_xargs", "web_search_options",
})  # fmt: skip


class PrometheusSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the metrics are, and whether a scraper needs a key."""

    path: str = "/metrics"
    public: bool = True


class Counters:
    """The metrics that are counted call by call; they outlive a reload."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._children: dict[tuple[int | str, ...], Counter | PrometheusHistogram] = {}
        placed = ("model", "operation", "replica")
        self.calls = Counter(
            "moegate_calls", "Calls by how they ended.", (*placed, "ending", "error"), registry=self.registry
        )
        self.attempts = Counter(
            "moegate_attempts", "Tries on replicas.", ("replica", "backend", "error"), registry=self.registry
        )
        self.tokens = Counter(
            "moegate_tokens",
            "Tokens as the engines reported them.",
            ("model", "replica", "class"),
            registry=self.registry,
        )
        self.transforms = Counter(
            "moegate_transforms",
            "Calls whose request or answer was changed on its way, by how.",
            ("backend", "transform"),
            registry=self.registry,
        )
        self.dropped_params = Counter(
            "moegate_dropped_params",
            "Calls that lost a parameter which their engine would have refused.",
            ("backend", "param"),
            registry=self.registry,
        )
        self.events = Counter("moegate_streamed_events", "Stream events relayed.", ("replica",), registry=self.registry)
        self.total = PrometheusHistogram(
            "moegate_call_seconds", "Whole calls.", placed, buckets=SECONDS, registry=self.registry
        )
        self.first_byte = PrometheusHistogram(
            "moegate_first_byte_seconds",
            "From a call's arrival to its first byte from an engine.",
            placed,
            buckets=SECONDS,
            registry=self.registry,
        )

    def child(self, metric: MetricT, *labels: str) -> MetricT:
        """The counter of one set of labels. prometheus_client looks it up under a lock; here it is found in a dict."""
        key: tuple[int | str, ...] = (id(metric), *labels)
        found = self._children.get(key)
        if found is None:
            found = self._children[key] = metric.labels(*labels)
        return cast("MetricT", found)


class FleetCollector(Collector):
    """The replicas as they are at the moment of a scrape."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def collect(self) -> Iterator[Family]:
        """Yield the gauges."""
        in_flight = GaugeMetricFamily("moegate_replica_in_flight", "Calls in flight.", labels=("model", "replica"))
        slots = GaugeMetricFamily("moegate_replica_slots", "max_concurrent.", labels=("model", "replica"))
        state = GaugeMetricFamily(
            "moegate_replica_state", "1 for the state it is in.", labels=("model", "replica", "state")
        )
        for replica in self._fleet.replicas():
            in_flight.add_metric((replica.model, replica.name), replica.in_flight)
            slots.add_metric((replica.model, replica.name), replica.max_concurrent)
            for each in ReplicaState:
                state.add_metric((replica.model, replica.name, each.value), float(replica.state is each))
        yield from (in_flight, slots, state)
        yield from self._loads()

    def _loads(self) -> Iterator[Family]:
        """What the engines say of themselves; an engine that does not say, or is not ready, has no sample."""
        labels = ("model", "replica")
        running = GaugeMetricFamily("moegate_replica_running", "Requests the engine works on.", labels=labels)
        waiting = GaugeMetricFamily("moegate_replica_waiting", "Requests in the engine's queue.", labels=labels)
        kv_use = GaugeMetricFamily("moegate_replica_kv_use", "Share of the KV cache in use.", labels=labels)
        hits = GaugeMetricFamily(
            "moegate_replica_cache_hit_rate", "Share of prompt tokens found in the prefix cache.", labels=labels
        )
        for replica in self._fleet.replicas():
            if replica.load is None or replica.state is not ReplicaState.READY:
                continue
            load = replica.load
            said = (
                (running, load.running),
                (waiting, load.waiting),
                (kv_use, load.kv_use),
                (hits, load.cache_hit_rate),
            )
            for gauge, number in said:
                if number is not None:
                    gauge.add_metric((replica.model, replica.name), number)
        yield from (running, waiting, kv_use, hits)


class ExtensionsCollector(Collector):
    """What extensions have counted, at the moment of a scrape.

    Args:
        taken: names that stand on the page already; a second family of one name would spoil the whole page.
    """

    def __init__(self, gather: Callable[[], Iterable[Metric]], taken: Container[str]) -> None:
        self._gather = gather
        self._taken = taken

    def collect(self) -> Iterator[Family]:
        """Yield each metric in Prometheus' own form."""
        return (_family(metric) for metric in self._gather() if metric.name not in self._taken)


def _family(metric: Metric) -> Family:
    made = {
        MetricKind.COUNTER: CounterMetricFamily,
        MetricKind.GAUGE: GaugeMetricFamily,
        MetricKind.HISTOGRAM: HistogramMetricFamily,
    }[metric.kind]
    family: Any = made(metric.name, metric.help, labels=metric.labels)
    for values, sample in metric.samples.items():
        if isinstance(sample, Histogram):
            family.add_metric(values, *_classes(sample))
        else:
            family.add_metric(values, sample)
    return cast("Family", family)


def _classes(sample: Histogram) -> tuple[list[tuple[str, float]], float]:
    bounds = [*map(floatToGoString, sample.bounds), "+Inf"]
    return list(zip(bounds, itertools.accumulate(sample.counts), strict=True)), sample.sum


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
        own = (counters.registry, FleetCollector(fleet))
        taken = frozenset(family.name for collector in own for family in collector.collect())
        self._collectors: tuple[Collector, ...] = (*own, ExtensionsCollector(gather, taken))
        self._settings = settings

    async def record(self, call: Call, outcome: Outcome, decision: Decision) -> None:
        """Count one call."""
        child = self._counters.child
        placed = (call.model.name, call.operation.value, decision.chosen or "none")
        child(self._counters.calls, *placed, outcome.ending.value, outcome.error_code or "").inc()
        child(self._counters.total, *placed).observe(outcome.total_seconds)
        if outcome.first_byte_seconds is not None:
            child(self._counters.first_byte, *placed).observe(outcome.first_byte_seconds)
        for attempt in outcome.attempts:
            child(self._counters.attempts, attempt.replica, attempt.backend, attempt.error_code or "").inc()
        if outcome.transforms or outcome.dropped_params:
            self._count_edits(outcome)
        if decision.chosen is None:
            return
        if outcome.streamed_events:
            child(self._counters.events, decision.chosen).inc(outcome.streamed_events)
        if outcome.usage is not None and not outcome.usage_estimated:
            self._count_tokens(call.model.name, decision.chosen, outcome.usage)

    def _count_edits(self, outcome: Outcome) -> None:
        """What was done for the engine of the last attempt, each kind once per call."""
        backend = outcome.attempts[-1].backend if outcome.attempts else "none"
        for transform in dict.fromkeys(outcome.transforms):
            self._counters.child(self._counters.transforms, backend, transform).inc()
        fields = {name.partition(".")[0] for name in outcome.dropped_params}
        for param in {field if field in KNOWN_PARAMS else "other" for field in fields}:
            self._counters.child(self._counters.dropped_params, backend, param).inc()

    def _count_tokens(self, model: str, replica: str, usage: Usage) -> None:
        for name, tokens in (
            ("prompt", usage.prompt_tokens),
            ("cached", usage.cached_tokens),
            ("completion", usage.completion_tokens),
            ("reasoning", usage.reasoning_tokens),
        ):
            if tokens is not None:
                self._counters.child(self._counters.tokens, model, replica, name).inc(tokens)

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
