"""What a command may ask for (CommandContext), and what it gets: a configuration opened, a gateway's answer, connections."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Protocol, TypeVar

from msgspec import Struct

from gateway.contracts.backend import Backend, Probe, Replica
from gateway.contracts.call import Model
from gateway.contracts.database import Database
from gateway.contracts.plugin import Fleet, Service

T = TypeVar("T")


class ReplicaAccess(Struct, frozen=True, eq=False):
    """All that it takes to ask a replica's engine directly, past the gateway; for commands, never on a call's way.

    Attributes:
        headers: what the engine wants with every request, its key among them; not for printing.
        connect_seconds, first_byte_seconds: how long to wait for a connection, and for an answer's first byte.
    """

    replica: Replica
    model: Model
    backend: Backend
    headers: tuple[tuple[bytes, bytes], ...]
    connect_seconds: float
    first_byte_seconds: float


class OpenConfiguration(Protocol):
    """A configuration that a command has opened: all that it names is built, nothing of it is started."""

    @property
    def fleet(self) -> Fleet:
        """The replicas."""

    def access(self) -> Sequence[ReplicaAccess]:
        """Every replica of every model, with what it takes to ask it directly."""

    def service(self, name: str) -> Service | None:
        """What the plugin of that name built as a service."""

    async def database(self) -> Database:
        """The SQL database of the configuration, its tables up to date, whatever plugins the configuration names.

        Raises:
            ConfigError: it cannot be reached, or `moegate db upgrade` is due.
        """

    async def look(self, replica: Replica) -> Probe:
        """Probe one replica now, by its backend; an engine that is down is an answer and no error."""


class Asked(Protocol):
    """An answer to a request of `Connections`, whose head is in. Whoever gets one closes it."""

    status: int
    headers: Sequence[tuple[bytes, bytes]]

    def header(self, name: bytes) -> bytes | None:
        """The first value of a header, named in lower case."""

    async def read_chunk(self, within_seconds: float | None = None) -> bytes:
        """The next piece of the body: all that came since the last call; b"" at its end.

        Raises:
            UpstreamTimeout: nothing more came in time.
            UpstreamBroken: the body is malformed or cut short.
        """

    async def read(self, limit_bytes: int | None = None) -> bytes:
        """The rest of the body, whole.

        Raises:
            UpstreamTimeout: as for `read_chunk`.
            UpstreamBroken: as for `read_chunk`, or it is longer than allowed.
        """

    def close(self) -> None:
        """Give the connection back if the answer came to its end, else abort it at once."""


class Connections(Protocol):
    """Kept connections to one server, by the client that calls go to engines with: cheap enough to measure with."""

    async def post(self, path: str, body: bytes) -> Asked:
        """Send a JSON body; return once the head of the answer is in.

        Args:
            path: is put behind that of the URL.
            body: JSON.

        Raises:
            UpstreamUnreachable: no connection, or it died before a byte of the answer.
            UpstreamTimeout: the head was not complete in time.
            UpstreamBroken: the answer is malformed or was cut short.
        """


class CommandContext(Protocol):
    """What a command may ask for: it is the `obj` of the Typer context that it runs in."""

    def open(self, config: Path) -> AbstractAsyncContextManager[OpenConfiguration]:
        """Build a configuration file, and let go of what was built at the end of the block.

        Raises:
            ConfigError: with every problem found. Let it through: the command line prints it, and ends with status 2.
        """

    def ask(self, url: str, key: str, method: str, path: str) -> Any:
        """Ask the admin API of a gateway that runs; its JSON answer, decoded.

        Args:
            url: of the gateway, without a path.
            key: one with the scope that the route wants.
            method: such as `GET`.
            path: of the route, from `/admin/` on.

        Raises:
            ClientError: the gateway refused; the message is its own.
            GatewayError: there is no answer, or one that is no gateway's.
        """

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run what awaits to its end, on the event loop that the gateway serves with; for commands that measure."""

    def connections(self, url: str, key: str, seconds: float, most: int) -> AbstractAsyncContextManager[Connections]:
        """Connections to a server, open for the length of the block.

        Args:
            url: http or https; what stands in its path is kept.
            key: sent as a bearer token; none if it is empty.
            seconds: how long a head, and each piece of a body, may take.
            most: connections at once.

        Raises:
            ConfigError: the URL or the key cannot be used.
        """
