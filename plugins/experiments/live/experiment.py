"""One experiment on a call's way: may the call join, which unit is it of, and which arm does that get."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

from gateway import Able, Assigned, Call, Operation
from gateway.contracts.tokens import TokenCounter
from plugins.experiments.live.assignment import Split, key_of, unit_reader
from plugins.experiments.live.joining import Arms, Joining, load
from plugins.experiments.live.settings import ExperimentSettings, Unit, solo
from plugins.experiments.live.shadowing import Shadows
from plugins.experiments.live.watching import Seen, Watch

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
        self._counts = len(self._drawn) > 1 or solo(settings)
        shadows = None if settings.shadow is None else Shadows(self.standing, settings.shadow)
        self._shadows = shadows
        # All that may be asked must be able: with shadows also arms that no unit gets.
        self._asked = sorted({*self._drawn, *(shadows.arms if shadows is not None else ())})
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
            why = None if all(arms[at][0] for at in self._asked) else "not_every_arm"
        if why is not None or unit is None:
            skipped = self.standing.skipped
            skipped[why or ""] = skipped.get(why or "", 0) + 1
            return None
        at, probability = self._draw(unit)
        replicas, names = arms[at]
        waiting, copies = self.standing.waiting, None
        tell: Callable[[Seen], None] = waiting.put
        if self._shadows is not None and call.operation is Operation.CHAT and self._shadows.draw():
            copies, pairing = self._shadows.copy(call, at, unit, arms)
            tell = pairing.serve
        watch = Watch(waiting, call, at, unit, names, load(replicas), counts=self._counts, tell=tell)
        return Assigned(self._labels[at], probability, names, watch, self._fall_back, copies)
