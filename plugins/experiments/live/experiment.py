"""One experiment on a call's way: may the call join, which unit is it of, and which arm does that get."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

from gateway import Able, Assigned, Call, Replica
from gateway.contracts.tokens import TokenCounter
from plugins.experiments.live.assignment import Split, key_of, unit_reader
from plugins.experiments.live.joining import Arms, Joining
from plugins.experiments.live.settings import ExperimentSettings, Unit
from plugins.experiments.live.watching import Watch

if TYPE_CHECKING:
    from plugins.experiments.live.standing import Standing

KNOWN_UNITS = 4_096


class Experiment:
    """It, for one runtime; what it has seen stands in its `Standing`.

    Args:
        clock: seconds since 1970.
    """

    def __init__(self, standing: Standing, secret: str, tokens: TokenCounter, clock: Callable[[], float]) -> None:
        self.standing = standing
        self._secret = secret
        self._clock = clock
        self._tokens = tokens
        self.take()

    def take(self) -> None:
        """Go by the declaration and the status as they are now."""
        settings: ExperimentSettings = self.standing.settings
        weights = self.standing.weights()
        split = Split(key_of(self._secret, settings.name), weights)
        # Units come again, but for those that are one call.
        self._draw = split.draw if settings.unit is Unit.CALL else lru_cache(KNOWN_UNITS)(split.draw)
        self._drawn = [at for at, (_, weight) in enumerate(weights) if weight > 0]
        self._randomised = len(self._drawn) > 1
        self._labels = [f"{settings.name}={arm.name}" for arm in settings.arms]
        self._fall_back = settings.fall_back
        self._joining = Joining(settings, self._tokens)
        self._unit = unit_reader(settings.unit, settings.session_header)
        self._begins = settings.start.timestamp() if settings.start is not None else 0.0
        self._ends = settings.end.timestamp() if settings.end is not None else float("inf")
        self._stopped = self.standing.status.state != "running" or not self._drawn

    def assign(self, call: Call, able: Able) -> Assigned | None:
        """See `Assigner`."""
        if self._stopped or not self._begins <= self._clock() < self._ends:
            return None
        unit = None
        arms: Arms = []
        why = self._joining.objection(call)
        if why is None:
            unit = self._unit(call)
            why = None if unit is not None else "no_unit"
        if why is None:
            arms = self._joining.arms(call, able)
            why = None if all(arms[at][0] for at in self._drawn) else "not_every_arm"
        if why is not None or unit is None:
            skipped = self.standing.skipped
            skipped[why or ""] = skipped.get(why or "", 0) + 1
            return None
        at, probability = self._draw(unit)
        replicas, names = arms[at]
        watch = Watch(self.standing.waiting, call, at, unit, names, _load(replicas), randomised=self._randomised)
        return Assigned(self._labels[at], probability, names, watch, self._fall_back)


def _load(replicas: list[Replica]) -> float:
    """Share of their slots in use."""
    in_use = slots = 0
    for replica in replicas:
        in_use += replica.in_flight
        slots += replica.max_concurrent
    return in_use / slots if slots else 0.0
