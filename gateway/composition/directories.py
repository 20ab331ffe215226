"""What the plugins of one runtime know of tenants, as one directory; knows nothing itself."""

from __future__ import annotations

from gateway.contracts.call import Principal
from gateway.contracts.plugin import TenantDirectory


class Directories:
    """All directories that were built, asked in that order."""

    def __init__(self) -> None:
        self._known: list[TenantDirectory] = []

    def add(self, built: object) -> None:
        """Take in what was built, if it is one."""
        if isinstance(built, TenantDirectory):
            self._known.append(built)

    def entitled(self, principal: Principal) -> Principal:
        """Return the caller with all that is known; see `TenantDirectory.entitled`."""
        for directory in self._known:
            principal = directory.entitled(principal)
        return principal
