"""Engines that have a scheduler and a prefix cache which tenants share: what their backends have in common."""

from __future__ import annotations

from typing import ClassVar

from msgspec import Raw

from backends.cache_salts import CacheSalts
from backends.openai_compatible import EngineSettings, OpenAICompatible
from backends.request_edit import RequestEdit, encode
from gateway import Call, Capability, Operation, Secret


class SharedEngineSettings(EngineSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a replica's `options:` may say besides.

    Attributes:
        priority: the engine was started so that it heeds priorities. Without that, some refuse every request that has one.
        cache_salt: keep tenants out of each other's prefix caches. Off, they share them, common system prompts too.
        cache_salt_key: the operator's own key for the salts.
    """

    priority: bool = False
    cache_salt: bool = True
    cache_salt_key: Secret | None = None


class SharedEngine(OpenAICompatible):
    """The base of their backends."""

    # What takes a salt.
    salted: ClassVar[frozenset[Operation]] = frozenset()

    def __init__(self, settings: SharedEngineSettings | None = None) -> None:
        settings = settings or SharedEngineSettings()
        super().__init__(settings)
        self.has_priority = settings.priority
        self._salts = CacheSalts(settings.cache_salt_key) if settings.cache_salt else None

    @property
    def capabilities(self) -> frozenset[Capability]:
        """As it was started."""
        found = set(self.can)
        if self.has_priority:
            found.add(Capability.PRIORITY)
        if self._salts is not None:
            found.add(Capability.CACHE_SALT)
        return frozenset(found)

    def cache_salt(self, call: Call) -> str | None:
        """Its tenant's, where the operation takes one."""
        if self._salts is None or call.operation not in self.salted:
            return None
        return self._salts.of(call.principal.tenant)

    def salt(self, edit: RequestEdit) -> None:
        """Give the request its tenant's salt."""
        salt = self.cache_salt(edit.call)
        if salt is not None:
            edit.put("cache_salt", Raw(encode(salt)))
