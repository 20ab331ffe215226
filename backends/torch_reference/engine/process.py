"""The process around the app: its socket, its signals, its end; it must not know about models."""

import contextlib
import os
import signal
import socket
import sys
from collections.abc import Generator
from types import FrameType

import uvicorn

from backends.torch_reference.engine.errors import StartError
from backends.torch_reference.engine.server import build_app
from backends.torch_reference.engine.service import Service

# A second signal means now: the conventional status of a process that a signal ended.
_SIGNAL_EXIT_BASE = 128
_WORKER_STOP_SECONDS = 5


def bind(host: str, port: int) -> socket.socket:
    """Return a bound socket that does not listen yet, or refuse to start."""
    bound: socket.socket | None = None
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, socket.SOCK_STREAM)
        # Without it, connections of a predecessor that are still closing would keep a restart off its port.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        if bound is not None:
            bound.close()
        raise StartError(f"cannot use {host}:{port}: {error.strerror}") from error
    return bound


class EngineServer(uvicorn.Server):
    """A uvicorn server that ends with status 0 when told to, and at once when told the same twice."""

    def __init__(self, service: Service, *, grace_seconds: int) -> None:
        """Serve this engine; running requests get so long to finish."""
        self._service = service
        self._told: set[int] = set()
        super().__init__(
            uvicorn.Config(
                build_app(service),
                loop="uvloop",
                http="httptools",
                ws="none",
                lifespan="off",
                log_level="warning",
                access_log=False,
                server_header=False,
                # Longer than a gateway's pool keeps idle connections, so that it is the pool that closes them.
                timeout_keep_alive=120,
                timeout_graceful_shutdown=grace_seconds,
            )
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen, and say so."""
        await super().startup(sockets)
        host, port = (sockets or self.servers[0].sockets)[0].getsockname()[:2]
        served, version = self._service.served, self._service.version
        print(  # noqa: T201 - the one line that says it is ready
            f"torch_reference ready: {served.name} on http://{host}:{port} (context {served.context_length}, "
            f"{version.dtype}, {self._service.worker.max_concurrent} slots)",
            flush=True,
        )

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Handle signals without raising them again afterwards: an ordered stop is a success."""
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, _frame: FrameType | None) -> None:
        """Stop: in order the first time, at once the second."""
        # The same signal: a terminal's Ctrl-C reaches the engine as well as its parent, whose SIGTERM then follows.
        if sig in self._told:
            os._exit(_SIGNAL_EXIT_BASE + sig)
        self._told.add(sig)
        self.should_exit = True


def run(service: Service, listener: socket.socket, *, grace_seconds: int) -> int:
    """Serve until told to stop; return the exit status."""
    server = EngineServer(service, grace_seconds=grace_seconds)
    worker = service.worker

    def stop_serving() -> None:
        server.should_exit = True

    worker.on_death = stop_serving
    worker.start()
    try:
        server.run(sockets=[listener])
    except OSError as error:
        # Only now does the socket listen: another process may have been quicker.
        raise StartError(f"cannot serve: {error.strerror}") from error
    finally:
        stopped = worker.stop(_WORKER_STOP_SECONDS)
    status = 1 if worker.died else 0
    if not stopped:
        # A forward pass that hangs would crash in the interpreter's own shutdown.
        sys.stdout.flush()
        os._exit(status)
    return status
