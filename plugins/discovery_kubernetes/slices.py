"""EndpointSlices as the API server tells of them (discovery.k8s.io/v1), and the targets that they come to; asks nobody."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from msgspec import Raw, Struct, field

from gateway import Target
from plugins.discovery_kubernetes.settings import SERVICE_LABEL, KubernetesSettings


class NoTargets(Exception):
    """The slices tell of nothing that could be asked; the message is for people."""


class Metadata(Struct, rename="camel"):
    """What is known of every object, and of a list of them."""

    name: str = ""
    namespace: str = ""
    resource_version: str = ""
    labels: dict[str, str] | None = None
    continue_: str = field(default="", name="continue")


class Conditions(Struct):
    """What is not said is unknown; an endpoint is then taken to be ready, as the API wants it."""

    ready: bool | None = None
    terminating: bool | None = None


class Reference(Struct):
    """What an endpoint is, such as a pod."""

    kind: str = ""
    name: str = ""


class Endpoint(Struct, rename="camel"):
    """One of a slice's endpoints; its addresses all lead to the same."""

    addresses: list[str] = []
    conditions: Conditions = field(default_factory=Conditions)
    target_ref: Reference | None = None
    node_name: str | None = None
    zone: str | None = None

    @property
    def is_wanted(self) -> bool:
        """Ready, and not on its way out; one that is terminating may still serve, but shall get no new calls."""
        return self.conditions.ready is not False and not self.conditions.terminating


class Port(Struct):
    """One of a slice's ports."""

    name: str | None = None
    port: int | None = None


class EndpointSlice(Struct, rename="camel"):
    """As much of one as is wanted here."""

    metadata: Metadata
    address_type: str = "IPv4"
    endpoints: list[Endpoint] | None = None
    ports: list[Port] | None = None


class EndpointSliceList(Struct):
    """One page of a list."""

    metadata: Metadata
    items: list[EndpointSlice] | None = None


class WatchEvent(Struct):
    """One line of a watch; what the object is, the type says."""

    type: str
    object: Raw


class Status(Struct):
    """What the API server says when something is wrong."""

    code: int = 0
    reason: str = ""


class Slices:
    """All slices that are known, by namespace and name."""

    def __init__(self, settings: KubernetesSettings) -> None:
        self._settings = settings
        self._known: dict[tuple[str, str], EndpointSlice] = {}

    def replace(self, slices: Iterable[EndpointSlice]) -> None:
        """Forget all but these."""
        self._known = {_key(each): each for each in slices}

    def put(self, found: EndpointSlice) -> None:
        """One is new or another than it was."""
        self._known[_key(found)] = found

    def drop(self, gone: EndpointSlice) -> None:
        """One is gone."""
        self._known.pop(_key(gone), None)

    def targets(self) -> list[Target]:
        """What all of them come to, each endpoint once.

        Raises:
            NoTargets: none of them has the wanted port.
        """
        wanted = [each for each in self._known.values() if each.address_type == self._settings.address_type]
        ports = [(each, self._port(each.ports or ())) for each in wanted]
        if wanted and all(port is None for _, port in ports):
            port = self._settings.port
            raise NoTargets(f"no slice has a port {port!r}" if port is not None else "`port` must say which of several")
        found: dict[str, Target] = {}
        for each, number in ports:
            for endpoint in each.endpoints or ():
                if number is not None and endpoint.is_wanted and endpoint.addresses:
                    target = self._target(each, endpoint, number)
                    found.setdefault(target.url, target)
        return list(found.values())

    def _port(self, ports: Sequence[Port]) -> int | None:
        """The wanted one of a slice's ports."""
        wanted = self._settings.port
        if wanted is None:
            return ports[0].port if len(ports) == 1 else None
        named = (each.port for each in ports if wanted in (each.name, each.port))
        return next(named, None)

    def _target(self, found: EndpointSlice, endpoint: Endpoint, port: int) -> Target:
        settings, address = self._settings, endpoint.addresses[0]
        host = f"[{address}]" if ":" in address else address
        pod = endpoint.target_ref.name if endpoint.target_ref and endpoint.target_ref.kind == "Pod" else ""
        said: dict[str, Any] = {
            "namespace": found.metadata.namespace,
            "service": (found.metadata.labels or {}).get(SERVICE_LABEL),
            "pod": pod,
            "node": endpoint.node_name,
            "zone": endpoint.zone,
        }
        return Target(
            url=f"{settings.scheme}://{host}:{port}{settings.path}",
            name=pod,
            labels={name: value for name, value in said.items() if value},
        )


def _key(found: EndpointSlice) -> tuple[str, str]:
    return found.metadata.namespace, found.metadata.name
