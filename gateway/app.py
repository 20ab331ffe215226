"""The composition root: configuration file → runtime → server; swaps runtimes on reload and ends them on a signal."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import math
import os
import signal
import socket
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from pathlib import Path

import structlog
import uvicorn

from gateway import config_file
from gateway.composition.runtime import Runtime, build_runtime
from gateway.config_file import Document
from gateway.errors import ConfigError, GatewayError
from gateway.http.crowd import Crowd, affordable
from gateway.http.edge import Edge
from gateway.http.protocol import PatientProtocol
from gateway.registry import Registry
from gateway.settings import ServerSettings
from gateway.shared import SharedObjects

log = structlog.get_logger("moegate.app")

WATCH_SECONDS = 1.0
BACKLOG = 2048
CATCH_UP_SECONDS = 5.0
AT_START_ONLY = (
    *("host", "port", "grace_seconds", "keep_alive_seconds"),
    *("max_connections", "max_connections_per_client", "head_seconds"),
)

OnServing = Callable[[Runtime], Coroutine[None, None, None]]
"""Called once when the gateway serves; engines may still be starting."""


class PortTaken(GatewayError):
    """Another process listens where we are to."""


class Application:
    """One gateway process.

    Args:
        file: the configuration file; a change of it, or SIGHUP, is a reload. So is a change of what sources of targets
            tell, but then with the configuration that is served already, whatever the file holds by now.
        host, port: what the command line says instead of the file.
    """

    def __init__(self, file: Path, *, host: str | None = None, port: int | None = None) -> None:
        self._file = file
        self._host = host
        self._port = port
        self._registry = Registry.from_plugins()
        self._shared = SharedObjects()
        self._reloading = asyncio.Lock()
        self._retiring: set[asyncio.Task[None]] = set()
        self._stamp = _stamp(file)
        self._document: Document | None = None

    async def build(self) -> Runtime:
        """Build a runtime from the file as it is now.

        Raises:
            ConfigError: with every problem found.
        """
        self._stamp = _stamp(self._file)
        document = config_file.read(self._file)
        runtime = await build_runtime(document, self._registry, self._shared)
        self._document = document
        return runtime

    async def serve(self, on_serving: OnServing | None = None) -> None:
        """Serve until a signal.

        Raises:
            ConfigError: the file cannot be served.
            PortTaken: somebody else listens there.
        """
        runtime = await self.build()
        settings = runtime.settings.server
        host, port = self._host or settings.host, self._port or settings.port
        listener = _listen(host, port)
        edge = Edge(runtime)
        server = _Server(
            uvicorn.Config(
                edge,
                http=partial(PatientProtocol, crowd=_crowd(settings)),  # type: ignore[arg-type]  # called like a class
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,  # nothing here asks for a client's address
                timeout_graceful_shutdown=math.ceil(settings.grace_seconds),
                timeout_keep_alive=math.ceil(settings.keep_alive_seconds),
                backlog=BACKLOG,
            )
        )
        runtime.fleet.sources.accept()
        runtime.start()
        _settle_memory()
        log.info("serving", host=host, port=port, models=[pool.model.name for pool in runtime.fleet.pools])
        with self._signals(server, edge):
            watcher = asyncio.create_task(self._watch(edge))
            greeting = asyncio.create_task(on_serving(runtime)) if on_serving is not None else None
            try:
                await server.serve(sockets=[listener])
            finally:
                watcher.cancel()
                if greeting is not None:
                    greeting.cancel()
                await server.end_calls()
                await asyncio.gather(*self._retiring, return_exceptions=True)
                await edge_runtime(edge).stop()
        log.info("stopped")

    async def reload(self, edge: Edge) -> None:
        """Swap in what the file says now; a file that cannot be served changes nothing."""
        async with self._reloading:
            old = edge_runtime(edge)
            runtime = await self._rebuilt(self.build)
            if runtime is None:
                old.fleet.sources.withdraw()
                return
            new, now = runtime.settings.server, old.settings.server
            changed = [name for name in AT_START_ONLY if getattr(new, name) != getattr(now, name)]
            if changed:
                log.warning("some changes take a restart", settings=[f"server.{name}" for name in changed])
            await self._swap(edge, runtime)
            _settle_memory()
            log.info("reloaded", models=[pool.model.name for pool in runtime.fleet.pools])

    async def retarget(self, edge: Edge) -> None:
        """Swap in the targets as they are known now; what cannot be served changes nothing."""
        async with self._reloading:
            old, document = edge_runtime(edge), self._document
            if document is None or not old.fleet.sources.changed:
                return
            runtime = await self._rebuilt(partial(build_runtime, document, self._registry, self._shared))
            if runtime is None:
                old.fleet.sources.refuse()
                return
            await self._swap(edge, runtime)
            # Callers see names that tell no address; whoever reads the log must know what they stand for.
            log.info("targets served", replicas={each.name: each.url for each in runtime.fleet.replicas()})

    async def _rebuilt(self, build: Callable[[], Coroutine[None, None, Runtime]]) -> Runtime | None:
        try:
            return await build()
        except ConfigError as error:
            log.error("reload refused, the old configuration stays", problems=list(error.problems))
        except Exception:
            log.exception("reload crashed, the old configuration stays")
        return None

    async def _swap(self, edge: Edge, runtime: Runtime) -> None:
        old = edge_runtime(edge)
        runtime.fleet.sources.accept()
        runtime.start()
        await _catch_up(runtime, old)
        edge.current = runtime
        old.fleet.part(runtime.fleet)
        retiring = asyncio.create_task(old.retire())
        self._retiring.add(retiring)
        retiring.add_done_callback(self._retiring.discard)

    async def _watch(self, edge: Edge) -> None:
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            if _stamp(self._file) != self._stamp:
                await self.reload(edge)
            elif edge_runtime(edge).fleet.sources.changed:
                await self.retarget(edge)

    @contextlib.contextmanager
    def _signals(self, server: _Server, edge: Edge) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        reloads: set[asyncio.Task[None]] = set()

        def hang_up() -> None:
            task = loop.create_task(self.reload(edge))
            reloads.add(task)
            task.add_done_callback(reloads.discard)

        handlers = {signal.SIGTERM: server.stop, signal.SIGINT: server.stop, signal.SIGHUP: hang_up}
        for number, handler in handlers.items():
            loop.add_signal_handler(number, handler)
        try:
            yield
        finally:
            for number in handlers:
                loop.remove_signal_handler(number)


def _crowd(settings: ServerSettings) -> Crowd:
    most = affordable(settings.max_connections)
    if most < settings.max_connections:
        log.warning("fewer connections than configured: the limit of open files is too low", connections=most)
    return Crowd(most, most_per_client=settings.max_connections_per_client, head_seconds=settings.head_seconds)


class _Server(uvicorn.Server):
    """uvicorn, less its signals: the first stop drains, the second does not wait."""

    def stop(self) -> None:
        """Ask for a stop."""
        if self.should_exit:
            log.warning("stopping at once")
            self.force_exit = True
            return
        log.info("stopping, calls in flight may end", grace_seconds=self.config.timeout_graceful_shutdown)
        self.should_exit = True

    async def end_calls(self) -> None:
        """End what the stop did not wait for: a runtime lets go of what it holds when its last call is over."""
        calls = list(self.server_state.tasks)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield


def _settle_memory() -> None:
    """Take what was built out of the collector's sight: it stays, and each full collection would walk all of it."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()


async def _catch_up(runtime: Runtime, old: Runtime) -> None:
    """Wait until a new runtime has found ready what the old one has, so that the swap refuses no call; not for ever."""
    served = {pool.model.name for pool in old.fleet.pools} - old.fleet.not_ready().keys()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(CATCH_UP_SECONDS):
            while served & runtime.fleet.not_ready().keys():
                await runtime.fleet.wait_for_change()


def edge_runtime(edge: Edge) -> Runtime:
    """The runtime that is current; the edge itself knows only what it needs of one."""
    runtime = edge.current
    if not isinstance(runtime, Runtime):
        raise TypeError("the edge holds something that is not a runtime")
    return runtime


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise PortTaken(f"cannot listen on {host}:{port}: {os.strerror(error.errno or 0)}") from error
    return listener


def _stamp(file: Path) -> tuple[int, int, int] | None:
    """What changes when a file does, replaced ones included."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
