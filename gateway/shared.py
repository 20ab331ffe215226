"""Objects that outlive a reload because the next runtime wants the same ones: counters, connections, engine processes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import structlog

log = structlog.get_logger("moegate.shared")

T = TypeVar("T")
Key = tuple[str, ...]


class SharedObjects:
    """Keeps each object as long as a runtime holds it."""

    def __init__(self) -> None:
        self._objects: dict[Key, Any] = {}
        self._holders: dict[Key, int] = {}

    def hold(self, key: Key, create: Callable[[], T]) -> T:
        """Get the object of that key, made on first use. Each hold is followed by one release."""
        if key not in self._objects:
            self._objects[key] = create()
        self._holders[key] = self._holders.get(key, 0) + 1
        found: T = self._objects[key]
        return found

    async def release(self, key: Key) -> None:
        """Let go; the last one closes it by `async aclose()`, if it has that."""
        self._holders[key] -= 1
        if self._holders[key]:
            return
        del self._holders[key]
        close: Callable[[], Awaitable[None]] | None = getattr(self._objects.pop(key), "aclose", None)
        if close is None:
            return
        try:
            await close()
        except Exception:
            log.exception("a shared object failed to close", key=key[0])
