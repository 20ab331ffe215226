"""Watches the sources of targets: keeps the last list of each, whatever becomes of it; builds no replica of them."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable, Mapping
from typing import Final

import structlog
from msgspec import Struct

from gateway import config_file
from gateway.config_file import Document
from gateway.contracts.targets import (
    Found,
    ImmediateSource,
    SourceCondition,
    SourceState,
    Target,
    TargetDocument,
    TargetSource,
)
from gateway.errors import ConfigError
from gateway.settings import SourceSettings

log = structlog.get_logger("moegate.targets")

LEAST_PAUSE_SECONDS: Final = 1.0
JITTER_SHARE: Final = 0.1
MOST_RETRY_SECONDS: Final = 60.0
MOST_REASON: Final = 300

_chance = random.Random().random  # noqa: S311 - of no consequence who guesses it


def _now() -> float:
    return asyncio.get_running_loop().time()


class Listed(Struct, frozen=True, eq=False):
    """What a source told: targets, or a document that people wrote with its items and lines."""

    targets: tuple[Target, ...] = ()
    document: Document | None = None
    text: TargetDocument | None = None

    def __len__(self) -> int:
        return len(self.targets) if self.document is None else len(self.document.content)


class WatchedSource:
    """One source with the last list that it told; the `TargetListener` of its source.

    Args:
        model: whose engines it finds.
        name: for people.
        source: of the plugin.
        settings: how much it may tell, and how often.
        clock: seconds; the event loop's by default.

    Attributes:
        listed: the last list; None before the first.
    """

    def __init__(
        self,
        model: str,
        name: str,
        source: TargetSource,
        settings: SourceSettings,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self.model = model
        self.name = name
        self.source = source
        self.listed: Listed | None = None
        self._settings = settings
        self._clock = clock if clock is not None else _now
        self._reason: str | None = None
        self._well_at = 0.0
        # What the runtime that serves was built of, and the one that was built last.
        self._served: Listed | None = None
        self._offered: Listed | None = None
        self._refused: TargetDocument | None = None
        self._offered_at = 0.0
        self._changes = 0
        self._failures = 0
        self._in_row = 0
        self._task: asyncio.Task[None] | None = None

    # What the source says.

    def found(self, targets: Found) -> None:
        """Take a list; see `TargetListener.found`."""
        try:
            listed = self._read(targets)
        except ConfigError as error:
            self._fail("; ".join(error.problems))
            return
        if listed.text is not None and listed.text == self._refused:
            return
        self._refused = None
        self._in_row = 0
        self._well_at = self._clock()
        if self._reason is not None:
            log.info("targets found again", model=self.model, source=self.name)
            self._reason = None
        if self.listed is not None and (self.listed.targets, self.listed.text) == (listed.targets, listed.text):
            return
        log.info("targets changed", model=self.model, source=self.name, targets=len(listed))
        self._changes += self.listed is not None
        self.listed = listed

    async def pause(self, seconds: float) -> None:
        """Wait; see `TargetListener.pause`."""
        await asyncio.sleep(max(seconds, LEAST_PAUSE_SECONDS) * (1 + JITTER_SHARE * _chance()))

    # What the gateway does with it.

    def start(self) -> None:
        """Have it look for targets from now on, unless it does."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name=f"targets of {self.model}")

    async def aclose(self) -> None:
        """Stop it: no runtime wants it any more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def look(self) -> None:
        """Ask a source that can tell at once, if nothing is known yet.

        Raises:
            ConfigError: what it tells cannot be served.
        """
        if self.listed is None and isinstance(self.source, ImmediateSource):
            self.listed = self._read(self.source.now())
            self._well_at = self._clock()

    def offer(self) -> Listed | None:
        """The list, for a runtime that is being built."""
        self._offered, self._offered_at = self.listed, self._clock()
        return self.listed

    @property
    def changed(self) -> bool:
        """Whether there is another list than the one that was offered last, and that was long enough ago."""
        if self.listed is self._offered:
            return False
        return self._offered is None or self._clock() - self._offered_at >= self._settings.change_seconds

    def accept(self) -> None:
        """What was offered is served."""
        self._served = self._offered

    def withdraw(self) -> None:
        """The configuration that it was offered for cannot be served; it may be offered again for another."""
        self._offered = self._served

    def refuse(self) -> None:
        """What was offered cannot be served: if people wrote it, the list before stays until they write another."""
        offered = self._offered
        if offered is None or offered is self._served or offered.text is None:
            return
        self._refused = offered.text
        self._fail("its list cannot be served, the one before stays")
        if self.listed is offered:
            self.listed = self._served
        self._offered = self._served

    def state(self, source: str) -> SourceState:
        """How it is now; `source` is what it is called."""
        condition = SourceCondition.STARTING if self.listed is None else SourceCondition.WELL
        if self._reason is not None:
            condition = SourceCondition.FAILING
        return SourceState(
            model=self.model,
            source=source,
            condition=condition,
            reason=self._reason or "",
            targets=len(self.listed) if self.listed is not None else 0,
            changes=self._changes,
            failures=self._failures,
            age_seconds=round(self._clock() - self._well_at, 3) if self.listed is not None else None,
        )

    async def _run(self) -> None:
        while True:
            try:
                await self.source.run(self)
            except Exception as error:  # noqa: BLE001 - a stranger's source; whatever it is, the last list stays
                self._fail(f"{error}" or type(error).__name__)
            else:
                self._fail("it ended")
            await self.pause(min(2.0 ** min(self._in_row - 1, 16), MOST_RETRY_SECONDS))

    def _fail(self, reason: str) -> None:
        reason = reason[:MOST_REASON]
        self._failures += 1
        self._in_row += 1
        if reason != self._reason:
            log.warning(
                "targets not found, those that are known stay", model=self.model, source=self.name, reason=reason
            )
        self._reason = reason

    def _read(self, found: Found) -> Listed:
        """A list that can be compared with the one before.

        Raises:
            ConfigError: it is empty, too long, or no list.
        """
        most = self._settings.max_targets
        if isinstance(found, TargetDocument):
            document = _parsed(found)
            if len(document.content) > most:
                raise ConfigError(f"{found.name}: {len(document.content)} targets, more than max_targets ({most})")
            return Listed(document=document, text=found)
        if not found:
            raise ConfigError("it told of no target at all")
        # In an order of their own: name servers turn their lists round with each answer.
        ordered = sorted(found, key=lambda target: (target.tier, target.name, target.url))
        single = {target.name or target.url: target for target in reversed(ordered)}
        if len(single) > most:
            raise ConfigError(f"it told of {len(single)} targets, more than max_targets ({most})")
        return Listed(targets=tuple(reversed(single.values())))


def _parsed(found: TargetDocument) -> Document:
    environment: Mapping[str, str] = os.environ if found.reads_environment else {}
    try:
        document = config_file.parse(found.text, environment)
    except ConfigError as error:
        raise ConfigError(*(f"{found.name}: {problem}" for problem in error.problems)) from None
    if document.problems:
        raise ConfigError(*(f"{found.name}: {problem}" for problem in document.problems))
    if not isinstance(document.content, list):
        raise ConfigError(f"{found.name}: must be a list of replicas; an empty one is []")
    return document
