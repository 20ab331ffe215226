"""The plugin `experiments`: assigns calls, counts what became of them, lets guardrails act, and keeps it all in the database."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway import Able, Assigned, BuildContext, Call, Metric
from gateway.errors import ConfigError
from plugins.experiments.live import store
from plugins.experiments.live.experiment import Experiment
from plugins.experiments.live.failures import ExperimentNotFound, ExperimentRefused
from plugins.experiments.live.findings import first_broken
from plugins.experiments.live.joining import check_all
from plugins.experiments.live.measures import metrics_of
from plugins.experiments.live.routes import handlers
from plugins.experiments.live.settings import Action, ExperimentSettings, ExperimentsSettings
from plugins.experiments.live.standing import Saved, Standing, State
from plugins.experiments.live.views import ExperimentView, view_of

if TYPE_CHECKING:
    from litestar.types import ControllerRouterHandler

log = structlog.get_logger("moegate.experiments")

# So many calls are counted in one go: a thread that counts holds the interpreter for some milliseconds.
AT_ONCE = 50
TICK_SECONDS = 0.25
KEEP_SECONDS = 10.0
LAST_SECONDS = 2.0


class Shared:
    """What outlives a reload: how each experiment stands, by its name."""

    def __init__(self) -> None:
        self.standings: dict[str, Standing] = {}


class Experiments:
    """Assigner, service and routes in one."""

    def __init__(
        self, settings: ExperimentsSettings, context: BuildContext, clock: Callable[[], float] = time.time
    ) -> None:
        self._engine: AsyncEngine = context.database.engine
        self._node = settings.node
        self._secret = settings.secret.reveal() if settings.secret is not None else ""
        self._clock = clock
        self._tokens = context.tokens
        self._fleet = context.fleet
        self._models = {model.name for model in context.models}
        self._shared = context.shared(("experiments",), Shared)
        self._counting = asyncio.Lock()
        self._configured = {each.name: each for each in settings.experiments}
        check_all(settings.experiments, self._fleet, self._models)
        self._by_model: dict[str, list[Experiment]] = {}
        self._loaded = False
        self._away = False
        self._arrange()

    def assign(self, call: Call, able: Able) -> Assigned | None:
        """See `Assigner`: the first experiment of the model that takes the call."""
        for experiment in self._by_model.get(call.model.name, ()):
            found = experiment.assign(call, able)
            if found is not None:
                return found
        return None

    async def run(self) -> None:
        """Count, watch and keep until cancelled."""
        kept = time.monotonic()
        try:
            while True:
                await self._follow()
                await self._count()
                if self._guard() or time.monotonic() - kept >= KEEP_SECONDS:
                    kept = time.monotonic()
                    await self._keep()
                await asyncio.sleep(TICK_SECONDS)
        finally:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LAST_SECONDS):
                    await self._keep()

    @property
    def not_ready(self) -> str | None:
        """Before it is known what was stopped, no call may join what was."""
        return None if self._loaded else "The experiments' states have not been read from the database yet."

    def standings(self) -> list[Standing]:
        """All, in the order in which they were declared."""
        return list(self._shared.standings.values())

    async def show(self, name: str) -> ExperimentView:
        """One experiment with its verdicts, of all nodes.

        Raises:
            ExperimentNotFound: there is none of that name.
        """
        standing = self._find(name)
        await self._count()
        others: list[Saved] = []
        with contextlib.suppress(*store.OUTAGES):
            others = [saved for node, saved in (await store.seen_by(self._engine, name)).items() if node != self._node]
        async with self._counting:
            return await asyncio.to_thread(view_of, standing, others, self._clock())

    async def create(self, settings: ExperimentSettings) -> Standing:
        """Declare one more, for all nodes.

        Raises:
            ExperimentRefused: there is one of that name, or it cannot be.
            one of store.OUTAGES: nothing was declared.
        """
        if settings.name in self._shared.standings:
            raise ExperimentRefused(f"There is an experiment {settings.name!r} already.", param="name")
        try:
            check_all([settings], self._fleet, self._models)
        except ConfigError as error:
            raise ExperimentRefused("; ".join(error.problems)) from error
        standing = Standing(settings)
        standing.status.changed_at = int(self._clock() * 1_000)
        await store.declare(self._engine, settings.name, settings, standing.status)
        self._shared.standings[settings.name] = standing
        self._arrange()
        return standing

    async def stop(self, name: str, reason: str) -> Standing:
        """No call joins it any more, on any node.

        Raises:
            ExperimentNotFound: there is none of that name.
            one of store.OUTAGES: it is stopped here, and not on other nodes yet.
        """
        standing = self._find(name)
        if standing.status.state is State.RUNNING:
            standing.stop(reason)
            self._arrange()
            log.info("experiment stopped", experiment=name, because=reason)
            await self._declare(standing)
        return standing

    def metrics(self) -> Iterable[Metric]:
        """How they stand."""
        return metrics_of(self.standings())

    @property
    def handlers(self) -> Sequence[ControllerRouterHandler]:
        """The admin routes."""
        return handlers(self)

    def _find(self, name: str) -> Standing:
        standing = self._shared.standings.get(name)
        if standing is None:
            raise ExperimentNotFound(f"There is no experiment {name[:128]!r}.")
        return standing

    def _arrange(self) -> None:
        """Put experiments to their models, those of the configuration first."""
        standings = self._shared.standings
        for name, settings in self._configured.items():
            standing = standings.get(name)
            if standing is None or not standing.redeclare(settings):
                if standing is not None:
                    log.warning("experiment begins anew, its declaration is another", experiment=name)
                standings[name] = Standing(settings, standing.status if standing is not None else None)
        self._by_model = {}
        for standing in standings.values():
            experiment = Experiment(standing, self._secret, self._tokens, self._clock)
            self._by_model.setdefault(standing.settings.model, []).append(experiment)

    async def _follow(self) -> None:
        """Take over what was declared or decided on other nodes, and at first what this one has seen before."""
        try:
            declared = await store.declared(self._engine)
            changed = False
            for name, found in declared.items():
                standing = self._shared.standings.get(name)
                if standing is None:
                    if found.settings is None:
                        continue  # of a configuration that has it no more
                    standing = self._shared.standings[name] = Standing(found.settings, found.status)
                    changed = True
                elif found.status.changed_at > standing.status.changed_at:
                    standing.take_status(found.status)
                    changed = True
            if not self._loaded:
                await self._recall()
                changed = True
        except store.OUTAGES as error:
            self._note(error)
            return
        self._note(None)
        self._loaded = True
        if changed:
            self._arrange()

    async def _recall(self) -> None:
        for name, standing in list(self._shared.standings.items()):
            if any(arm.units for arm in standing.tallies.arms):
                continue
            saved = (await store.seen_by(self._engine, name)).get(self._node)
            if saved is not None:
                recalled = Standing(standing.settings, standing.status, saved)
                recalled.waiting, recalled.skipped = standing.waiting, standing.skipped
                self._shared.standings[name] = recalled

    async def _count(self) -> None:
        async with self._counting:
            for standing in self.standings():
                while await asyncio.to_thread(standing.count, AT_ONCE) == AT_ONCE:
                    pass

    def _guard(self) -> bool:
        """Let guardrails act; whether one has."""
        acted = False
        for standing in self.standings():
            if standing.status.state is not State.RUNNING or not standing.settings.guardrails:
                continue
            for at, arm in enumerate(standing.settings.arms[1:], 1):
                if arm.name in standing.status.rolled_back:
                    continue
                found = first_broken(standing.settings.guardrails, standing.tallies.arms[at])
                if found is not None:
                    guardrail, reason = found
                    self._act(standing, arm.name, guardrail.action, f"guardrail {guardrail.watch.value}: {reason}")
                    acted = True
        return acted

    def _act(self, standing: Standing, arm: str, action: Action, reason: str) -> None:
        name = standing.settings.name
        if action is Action.STOP:
            standing.stop(f"arm {arm}: {reason}")
            log.warning("experiment stopped by its guardrail", experiment=name, arm=arm, because=reason)
        else:
            standing.roll_back(arm, reason)
            log.warning("arm rolled back by its guardrail", experiment=name, arm=arm, because=reason)
        self._arrange()

    async def _keep(self) -> None:
        try:
            for standing in self.standings():
                if standing.dirty:
                    standing.dirty = False
                    await self._declare(standing)
                    async with self._counting:
                        saved = standing.saved()
                        await store.keep(self._engine, standing.settings.name, self._node, saved)
        except store.OUTAGES as error:
            self._note(error)

    async def _declare(self, standing: Standing) -> None:
        if standing.status.changed_at:
            name = standing.settings.name
            settings = None if name in self._configured else standing.settings
            await store.declare(self._engine, name, settings, standing.status)

    def _note(self, error: BaseException | None) -> None:
        """Say once that the database is away, and once that it is back."""
        if error is not None and not self._away:
            log.warning("experiments are not kept, the database is away", error=type(error).__name__)
        elif error is None and self._away:
            log.info("experiments are kept again")
        self._away = error is not None


def build(settings: ExperimentsSettings, context: BuildContext) -> Experiments:
    """Build it; how experiments stand outlives a reload.

    Raises:
        ConfigError: with everything that is wrong with them.
    """
    return Experiments(settings, context)
