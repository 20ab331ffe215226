"""Callers whom other authenticators know, with what their tenants give them; remembers them, so that most calls cost a look-up."""

from __future__ import annotations

from collections import OrderedDict

from gateway import Principal
from gateway.errors import Unauthenticated
from plugins.tenants.principals import Level, of_caller
from plugins.tenants.rows import Unreadable
from plugins.tenants.snapshot import Snapshot

MOST_CALLERS = 10_000

REFUSAL = "This caller is not let in."


class Callers:
    """Those that called last."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        # By identity: two tokens of one subject may allow different things. A key that is held cannot be another's.
        self._known: OrderedDict[int, tuple[Principal, Level, Principal]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def entitled(self, principal: Principal, now: float) -> Principal:
        """See `TenantDirectory.entitled`; `now` is in seconds since 1970.

        Raises:
            Unauthenticated: its tenant or its team is disabled, has expired, or cannot be read.
        """
        try:
            level = self._snapshot.level(principal.tenant, principal.team)
        except Unreadable:
            raise Unauthenticated(f"{REFUSAL} Its tenant cannot be read.") from None
        if level is None:
            return principal
        if level.refusal is not None:
            raise Unauthenticated(f"{REFUSAL} {level.refusal}")
        if now >= level.ends_at:
            raise Unauthenticated(f"{REFUSAL} Its tenant or its team has expired.")
        place = id(principal)
        found = self._known.get(place)
        if found is not None and found[1] is level:
            self._known.move_to_end(place)
            return found[2]
        made = of_caller(principal, level)
        self._known[place] = principal, level, made
        self._known.move_to_end(place)
        if len(self._known) > MOST_CALLERS:
            self._known.popitem(last=False)
        return made
