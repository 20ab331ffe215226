"""Lists the slices of a service, and then watches them: what an API server forgets or breaks off is listed or taken up anew."""

from __future__ import annotations

import contextlib

import msgspec

from gateway import TargetListener
from plugins.discovery_kubernetes.api import Api, ApiFailed, Gone
from plugins.discovery_kubernetes.settings import KubernetesSettings
from plugins.discovery_kubernetes.slices import EndpointSlice, Slices, WatchEvent

PAUSE_SECONDS = 1.0
"""Between two watches, and before a new list."""


class KubernetesSource:
    """One service."""

    def __init__(self, settings: KubernetesSettings) -> None:
        self._settings = settings

    async def run(self, listener: TargetListener) -> None:
        """Watch until cancelled; see `TargetSource.run`."""
        slices = Slices(self._settings)
        async with Api(self._settings) as api:
            while True:
                try:
                    found, version = await api.list()
                    slices.replace(found)
                    listener.found(slices.targets())
                    await self._follow(api, slices, version, listener)
                except Gone:
                    await listener.pause(PAUSE_SECONDS)

    async def _follow(self, api: Api, slices: Slices, version: str, listener: TargetListener) -> None:
        """Watch from a version on.

        Raises:
            Gone: the API server does not remember it any more.
        """
        while True:
            async with contextlib.aclosing(api.watch(version)) as events:
                async for event in events:
                    version = _taken(event, slices) or version
                    listener.found(slices.targets())
            # A watch that came to its end says that nothing else has changed, too.
            listener.found(slices.targets())
            await listener.pause(PAUSE_SECONDS)


def _taken(event: WatchEvent, slices: Slices) -> str:
    """Take an event in; the version that it is of."""
    try:
        found = msgspec.json.decode(event.object, type=EndpointSlice)
    except msgspec.DecodeError:
        raise ApiFailed("the API server told of something that is no EndpointSlice") from None
    if event.type in ("ADDED", "MODIFIED"):
        slices.put(found)
    elif event.type == "DELETED":
        slices.drop(found)
    return found.metadata.resource_version
