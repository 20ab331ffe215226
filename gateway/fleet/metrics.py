"""What the fleet has counted, for exporters; the plain state of replicas is the exporters' own affair."""

from __future__ import annotations

from collections.abc import Iterable

from gateway.contracts.metrics import Metric, counter, gauge
from gateway.fleet.breaker import Phase
from gateway.fleet.pooled_fleet import PooledFleet


class FleetMeter:
    """The `Metered` of a fleet."""

    def __init__(self, fleet: PooledFleet) -> None:
        self._fleet = fleet

    def metrics(self) -> Iterable[Metric]:
        """Breakers, slots, retries and hedges."""
        yield from self._replicas()
        yield from self._tries()

    def _replicas(self) -> Iterable[Metric]:
        phases: dict[tuple[str, ...], float] = {}
        opened: dict[tuple[str, ...], float] = {}
        slots: dict[tuple[str, ...], float] = {}
        for member in self._fleet.members():
            replica, breaker = member.replica, member.condition.breaker
            key = (replica.model, replica.name)
            slots[key] = replica.slots
            for phase in Phase:
                phases[*key, phase.value] = float(replica.breaker == phase.value)
            if breaker is not None:
                opened[key] = breaker.opened
        of = ("model", "replica")
        yield gauge("moegate_breaker_phase", "1 for the phase that a replica's breaker is in.", phases, *of, "phase")
        yield counter("moegate_breaker_opened", "Times that a replica was ejected.", opened, *of)
        yield gauge("moegate_replica_usable_slots", "Calls that may be in flight there at this moment.", slots, *of)

    def _tries(self) -> Iterable[Metric]:
        retries: dict[tuple[str, ...], float] = {}
        refused: dict[tuple[str, ...], float] = {}
        pauses: dict[tuple[str, ...], float] = {}
        hedges: dict[tuple[str, ...], float] = {}
        for pool in self._fleet.pools:
            name, budget = pool.model.name, pool.retries.budget
            retries |= {(name, code): count for code, count in budget.made.items()}
            refused |= {(name, code): count for code, count in budget.refused.items()}
            pauses[name,] = pool.retries.pauses
            if pool.hedges is not None:
                made, denied, won = pool.hedges.budget.made, pool.hedges.budget.refused, pool.hedges.won
                hedges |= {(name, "made"): made.total(), (name, "won"): won, (name, "refused"): denied.total()}
        yield counter("moegate_retries", "Further tries, by the failure before.", retries, "model", "error")
        yield counter(
            "moegate_retries_refused", "Calls that failed for lack of a retry budget.", refused, "model", "error"
        )
        yield counter("moegate_retry_pauses", "Calls that waited for a Retry-After.", pauses, "model")
        yield counter("moegate_hedges", "Second tries beside a late one.", hedges, "model", "what")
