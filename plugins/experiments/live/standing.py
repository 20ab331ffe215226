"""How an experiment stands: whether it runs, which arms were rolled back and why, and what was seen; outlives reloads."""

from __future__ import annotations

import time
from enum import StrEnum

import msgspec
from msgspec import Struct

from plugins.experiments.live.reading import Reader
from plugins.experiments.live.settings import ExperimentSettings, solo
from plugins.experiments.live.shadow_tallies import ShadowTallies, ShadowTally
from plugins.experiments.live.tallies import ArmTally, Tallies
from plugins.experiments.live.watching import Answers, Waiting
from plugins.experiments.statistics.sample_ratio import SampleRatio


class State(StrEnum):
    """Whether calls join. Before its start and after its end a running experiment takes none."""

    RUNNING = "running"
    STOPPED = "stopped"


class Status(Struct, kw_only=True):
    """What all nodes must agree on.

    Attributes:
        reason: why it was stopped, and by whom or what.
        rolled_back: arms that get no calls any more, with the reason.
        changed_at: milliseconds since 1970; the newest one holds.
    """

    state: State = State.RUNNING
    reason: str = ""
    rolled_back: dict[str, str] = {}
    changed_at: int = 0


class Saved(Struct, kw_only=True):
    """What one node has seen; `shape` is of the declaration that it was seen of."""

    shape: str
    arms: list[ArmTally]
    ratio: SampleRatio | None
    shadow: ShadowTally


class Standing:
    """One experiment's.

    Attributes:
        waiting: calls that are over and not counted yet.
        skipped: calls that did not join, by reason; of this process.
        dirty: there is something that was not saved.
    """

    def __init__(self, settings: ExperimentSettings, status: Status | None = None, saved: Saved | None = None) -> None:
        self.settings = settings
        self.status = status or Status()
        self.waiting = Waiting()
        self.skipped: dict[str, int] = {}
        self.dirty = False
        arms, shadow = [ArmTally() for _ in settings.arms], ShadowTally.of(len(settings.arms))
        weights = {arm.name: arm.weight for arm in settings.arms if arm.weight > 0}
        self.ratio = None if solo(settings) else SampleRatio(weights=weights)
        if saved is not None and saved.shape == shape_of(settings):
            arms, self.ratio, shadow = saved.arms, saved.ratio, saved.shadow
        self._reader = Reader()
        self.tallies = Tallies(arms)
        null = settings.shadow is not None and settings.shadow.null
        self.shadows = ShadowTallies(shadow, self._reader, null=null)
        self._reweigh()

    def weights(self) -> list[tuple[str, float]]:
        """Of the arms, as they are dealt now: 0 for one that was rolled back."""
        gone = self.status.rolled_back
        return [(arm.name, 0.0 if arm.name in gone else arm.weight) for arm in self.settings.arms]

    def redeclare(self, settings: ExperimentSettings) -> bool:
        """Take another declaration; False if that is another experiment, whose figures cannot go with these."""
        if shape_of(settings) != shape_of(self.settings):
            return False
        self.settings = settings
        self._reweigh()
        return True

    def stop(self, reason: str) -> None:
        """No call joins any more."""
        self._change(msgspec.structs.replace(self.status, state=State.STOPPED, reason=reason))

    def roll_back(self, arm: str, reason: str) -> None:
        """No call gets this arm any more; the last one that is left keeps all that would have joined."""
        gone = {**self.status.rolled_back, arm: reason}
        self._change(msgspec.structs.replace(self.status, rolled_back=gone))

    def _change(self, status: Status) -> None:
        self.take_status(msgspec.structs.replace(status, changed_at=int(time.time() * 1_000)))
        self.dirty = True

    def take_status(self, status: Status) -> None:
        """What was decided, here or on another node."""
        self.status = status
        self._reweigh()

    def count(self, most: int) -> int:
        """Count calls that wait; how many. In a thread of its own."""
        taken = self.waiting.take(most)
        names = [arm.name for arm in self.settings.arms]
        for found in taken:
            if isinstance(found, Answers):
                self.shadows.take(found)
                continue
            arm = self.tallies.arms[found.arm]
            before = arm.units
            self.tallies.take(self._reader.read(found))
            name = names[found.arm]
            if arm.units > before and self.ratio is not None and name in self.ratio.weights:
                self.ratio.add(name)
        self.dirty = self.dirty or bool(taken)
        return len(taken)

    def saved(self) -> Saved:
        """What is to be kept."""
        return Saved(shape=shape_of(self.settings), arms=self.tallies.arms, ratio=self.ratio, shadow=self.shadows.tally)

    def _reweigh(self) -> None:
        weights = {name: weight for name, weight in self.weights() if weight > 0}
        if self.ratio is not None and len(weights) > 1 and weights != self.ratio.weights:
            self.ratio.reweigh(weights)


def shape_of(settings: ExperimentSettings) -> str:
    """What must stay as it is for figures to go together; weights, times, margins, guardrails and the share may change."""
    arms = [(arm.name, arm.backends, arm.replicas, arm.revisions) for arm in settings.arms]
    null = settings.shadow is not None and settings.shadow.null
    whole = (settings.model, arms, settings.unit, settings.session_header, settings.eligible, solo(settings), null)
    return msgspec.json.encode(whole).decode()
