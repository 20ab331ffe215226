"""What this node must remember of each budget, so that a telling whose answer was lost can be told again and counts once."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable

MOST_PAGES = 100_000


class Page:
    """One budget.

    Attributes:
        base: number of the telling whose answer was the last to be heard; tellings since then are told again.
        had: units held by that answer.
        turn: done when the exchange that is under way is over; exchanges of one budget run one after the other.
        at: when it was used last, by the loop's clock.
    """

    __slots__ = ("at", "base", "had", "turn")

    def __init__(self, base: int) -> None:
        self.base = base
        self.had = 0
        self.turn: asyncio.Future[None] | None = None
        self.at = 0.0


class Books:
    """The pages, the longest unused first.

    Args:
        memory_seconds: how long a page without answer is kept; the store remembers the other half as long.
    """

    def __init__(self, memory_seconds: float) -> None:
        self._pages: OrderedDict[str, Page] = OrderedDict()
        self._memory_seconds = memory_seconds
        self._number = 0

    def __len__(self) -> int:
        return len(self._pages)

    def number(self) -> int:
        """A number that is larger than all before it."""
        self._number += 1
        return self._number

    def busy(self, keys: Iterable[str]) -> asyncio.Future[None] | None:
        """What to wait for before these budgets can be exchanged; None if nothing is under way."""
        for key in keys:
            page = self._pages.get(key)
            if page is not None and page.turn is not None:
                return page.turn
        return None

    def open(self, keys: Iterable[str], turn: asyncio.Future[None], now: float) -> list[Page]:
        """The pages of these budgets, for one exchange; `close` ends it."""
        return [self._open(key, turn, now) for key in keys]

    def _open(self, key: str, turn: asyncio.Future[None], now: float) -> Page:
        page = self._pages.get(key)
        if page is None:
            self._forget(now)
            # A base of its own: the store must not take it for one that it knows.
            page = self._pages[key] = Page(self.number())
        else:
            self._pages.move_to_end(key)
        page.turn, page.at = turn, now
        return page

    def note(self, key: str, page: Page, number: int, held: int) -> None:
        """The answer to telling `number` was heard. A page that says nothing any more is dropped."""
        page.base, page.had = number, held
        if not held:
            self._pages.pop(key, None)

    def _forget(self, now: float) -> None:
        while self._pages:
            page = next(iter(self._pages.values()))
            if page.turn is not None or (page.at + self._memory_seconds > now and len(self._pages) < MOST_PAGES):
                return
            self._pages.popitem(last=False)


def close(pages: Iterable[Page], turn: asyncio.Future[None]) -> None:
    """The exchange is over, one way or the other: let the next begin."""
    for page in pages:
        page.turn = None
    turn.set_result(None)
