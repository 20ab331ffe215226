"""The sources of targets of one runtime, together: whether any has changed, how each is, and what is counted of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from gateway.contracts.metrics import Metric, counter, gauge
from gateway.contracts.targets import SourceCondition, SourceState
from gateway.fleet.targets import WatchedSource


class TargetSources:
    """The sources of one runtime, each with what it is called; and their `Metered`."""

    def __init__(self, sources: Sequence[tuple[str, WatchedSource]]) -> None:
        self._sources = tuple(sources)

    def start(self) -> None:
        """Have all look for targets."""
        for _, source in self._sources:
            source.start()

    @property
    def changed(self) -> bool:
        """Whether any has another list than the runtime that was built last."""
        return any(source.changed for _, source in self._sources)

    def accept(self) -> None:
        """The runtime that was built of them is served."""
        for _, source in self._sources:
            source.accept()

    def refuse(self) -> None:
        """It cannot be served, for faults of what they told."""
        for _, source in self._sources:
            source.refuse()

    def withdraw(self) -> None:
        """It cannot be served, for faults of the configuration."""
        for _, source in self._sources:
            source.withdraw()

    def states(self) -> list[SourceState]:
        """How each is now."""
        return [source.state(name) for name, source in self._sources]

    def metrics(self) -> Iterable[Metric]:
        """How each is, for exporters."""
        of = ("model", "source")
        states: Mapping[tuple[str, ...], SourceState] = {(each.model, each.source): each for each in self.states()}
        conditions: dict[tuple[str, ...], float] = {
            (*key, each.value): float(state.condition is each)
            for key, state in states.items()
            for each in SourceCondition
        }
        ages: dict[tuple[str, ...], float] = {
            key: state.age_seconds for key, state in states.items() if state.age_seconds is not None
        }
        yield gauge("moegate_targets_source", "1 for how a source of targets is.", conditions, *of, "condition")
        yield gauge("moegate_targets_known", "Targets that a source told last.", _each(states, "targets"), *of)
        yield gauge("moegate_targets_age_seconds", "Since a source was last well.", ages, *of)
        yield counter("moegate_targets_changes", "Times that a source's list changed.", _each(states, "changes"), *of)
        yield counter("moegate_targets_failures", "Times that a source failed.", _each(states, "failures"), *of)


def _each(states: Mapping[tuple[str, ...], SourceState], name: str) -> dict[tuple[str, ...], float]:
    return {key: getattr(state, name) for key, state in states.items()}
