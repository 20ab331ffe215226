"""What one plugin knows of a tenant reaches callers whom another one knows; neither knows the other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from gateway import BuildContext, Extension, NoSettings, Principal
from tests.unit.fakes import FakeResponse
from tests.unit.gateway.in_process import config, running
from tests.unit.gateway.plugin_modules import plugin


class Badge:
    """Knows everybody by name alone, and asks what is known of their tenant."""

    def __init__(self, context: BuildContext) -> None:
        self._directory = context.directory

    def authenticate(self, headers: Mapping[bytes, bytes]) -> Principal | None:
        return self._directory.entitled(Principal("ann", "ann", "acme"))


class Register:
    """Knows what a tenant may ask for."""

    def __init__(self, tenant: str, model: str) -> None:
        self._tenant = tenant
        self._model = model

    def entitled(self, principal: Principal) -> Principal:
        if principal.tenant != self._tenant:
            return principal
        return msgspec.structs.replace(principal, models=frozenset({self._model}))

    async def run(self) -> None:
        """Be a service."""


async def test_a_caller_has_what_a_directory_gives_it_whichever_was_built_first() -> None:
    for order in (("badge", "register"), ("register", "badge")):
        for tenant, model, status in (("acme", "other", 403), ("acme", "kimi-k2", 200), ("else", "other", 200)):
            register = Extension("register", NoSettings, lambda _, __, t=tenant, m=model: Register(t, m))
            brings = plugin(
                moegate_authenticators=lambda: [Extension("badge", NoSettings, lambda _, context: Badge(context))],
                moegate_services=lambda register=register: [register],
            )
            settings: dict[str, Any] = config(plugins=[{"use": name} for name in order])
            settings["server"] = {}
            answer = FakeResponse(pieces=[b'{"choices":[]}'])
            async with running(brings, settings=settings, replies=(answer,)) as gateway:
                assert (await gateway.ask()).status == status
