"""Says which copies a call gets in shadow mode: one for each arm that does not serve it, and one for the first arm's own noise."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from gateway import Call, Copies, CopyTo
from plugins.experiments.live.joining import Arms, load
from plugins.experiments.live.watching import Pairing, Watch

if TYPE_CHECKING:
    from plugins.experiments.live.settings import ShadowSettings
    from plugins.experiments.live.standing import Standing

# Of no consequence who guesses it: what a client gets does not depend on it.
_random = random.Random().random  # noqa: S311


class Shadows:
    """One experiment's copies, for one runtime.

    Attributes:
        arms: those that are asked, the first among them; their places. Empty where there is nobody to compare.
    """

    def __init__(self, standing: Standing, settings: ShadowSettings) -> None:
        self._standing = standing
        self._settings = settings
        arms = standing.settings.arms
        self._name = standing.settings.name
        asked = [at for at, arm in enumerate(arms) if arm.name not in standing.status.rolled_back]
        self.arms = asked if len(asked) > 1 else []

    def draw(self) -> bool:
        """Whether this call is to be copied."""
        return bool(self.arms) and _random() < self._settings.share

    def copy(self, call: Call, served_by: int, unit: bytes, arms: Arms) -> tuple[Copies, Pairing]:
        """A call's copies, and what brings their answers together with the client's."""
        asked = [at for at in self.arms if at != served_by]
        if self._settings.null:
            asked.append(0)
        pairing = Pairing(self._standing.waiting, len(asked))
        to = []
        for at in asked:
            replicas, names = arms[at]
            watch = Watch(
                self._standing.waiting, call, at, unit, names, load(replicas), counts=False, tell=pairing.copy
            )
            to.append(CopyTo(names, watch))
        return Copies(self._name, self._settings, tuple(to)), pairing
