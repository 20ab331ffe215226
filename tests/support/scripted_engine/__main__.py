"""Starts the fake engine from the command line; it prints one JSON line when ready and nothing afterwards."""

import argparse
import asyncio
import gc
import signal
import sys

import msgspec
import uvloop

from tests.support.scripted_engine import fault_errors, fault_streams, fault_transport, fault_turns  # noqa: F401
from tests.support.scripted_engine.answers import Prebuilt
from tests.support.scripted_engine.control import ControlDoor
from tests.support.scripted_engine.dialects import DIALECTS
from tests.support.scripted_engine.dialects.shape import OpenAIShape
from tests.support.scripted_engine.faults import start_script
from tests.support.scripted_engine.metered import Metered
from tests.support.scripted_engine.protocol import Engine, EngineProtocol
from tests.support.scripted_engine.state import EngineState


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="scripted_engine", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="the address it listens on")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--control-port", type=int, default=0, help="the same door on a port that never stops")
    parser.add_argument(
        "--more-ports", type=int, default=0, help="so many further free ports, for many replicas in one"
    )
    parser.add_argument("--name", default="scripted", help="what `only=` in a marker is compared with")
    parser.add_argument("--model", default="kimi-k2", help="the one served model name")
    parser.add_argument("--dialect", default="vllm", choices=sorted(DIALECTS), help="whose shapes it speaks")
    parser.add_argument("--lifelike", action="store_true", help="answer as a small model would, and judge requests")
    parser.add_argument("--metered", action="store_true", help="answer as long as the prompt asks, and keep an account")
    parser.add_argument("--chunks", type=int, default=16, help="content chunks when the request sets no max_tokens")
    parser.add_argument("--chunk-interval-ms", type=float, default=0.0)
    parser.add_argument("--first-chunk-ms", type=float, default=0.0)
    parser.add_argument("--answer-ms", type=float, default=0.0, help="delay of a non-streamed answer")
    parser.add_argument("--timestamps", action="store_true", help="each chunk's text is its send time in ns")
    parser.add_argument("--exit-with-stdin", action="store_true", help="end when standard input closes")
    return parser.parse_args()


class Listener:
    """The engine's port, which a test may close and open again."""

    def __init__(self, engine: Engine, host: str, *, counted: bool) -> None:
        """Not listening yet."""
        self.engine = engine
        self.host = host
        self.counted = counted
        self.server: asyncio.Server | None = None
        self.port = 0

    async def open(self, port: int) -> None:
        """Listen; the port is kept for the next time."""
        loop = asyncio.get_running_loop()
        self.server = await loop.create_server(
            lambda: EngineProtocol(self.engine, counted=self.counted), self.host, port, backlog=4096
        )
        self.port = self.server.sockets[0].getsockname()[1]

    async def switch(self, accept: bool) -> None:
        """Stop or start accepting; what is connected stays."""
        if accept and self.server is None:
            await self.open(self.port)
        elif not accept and self.server is not None:
            self.server.close()
            self.server = None


async def serve(options: argparse.Namespace) -> None:
    """Run until a signal, or until standard input closes."""
    loop = asyncio.get_running_loop()
    dialect = DIALECTS[options.dialect](options.model)
    # A lifelike engine reads every request whole; the fast way is for those that always say the same.
    answers = {
        operation: Prebuilt(shape, operation, timestamps=options.timestamps)
        for operation, shape in dialect.shapes.items()
        if isinstance(shape, OpenAIShape) and not options.lifelike
    }
    engine = Engine(EngineState(options.name), options.model, dialect, {} if options.metered else answers)
    engine.lifelike = options.lifelike
    engine.default_chunks = options.chunks
    engine.interval = options.chunk_interval_ms / 1000
    engine.first_chunk_delay = options.first_chunk_ms / 1000
    engine.answer_delay = options.answer_ms / 1000
    listener, control = (Listener(engine, options.host, counted=counted) for counted in (True, False))
    engine.script = start_script
    engine.other = control_door = ControlDoor(engine, listener.switch)
    if options.metered:
        metered = Metered(answers)
        engine.script = metered.start
        control_door.verbs["GET", "account"] = lambda *_: [entry.as_json() for entry in metered.entries]
    await listener.open(options.port)
    others = [Listener(engine, options.host, counted=True) for _ in range(options.more_ports)]
    for other in others:
        await other.open(0)
    await control.open(options.control_port)

    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    if options.exit_with_stdin:
        loop.add_reader(sys.stdin.fileno(), stop.set)
    # Everything built so far lives as long as the process; the collector need not walk it during a measurement.
    gc.collect()
    gc.freeze()
    ready = {
        "port": listener.port,
        "control_port": control.port,
        "name": options.name,
        "more_ports": [other.port for other in others],
    }
    sys.stdout.write(msgspec.json.encode(ready).decode() + "\n")
    sys.stdout.flush()
    await stop.wait()
    for protocol in list(engine.protocols):
        protocol.transport.abort()


if __name__ == "__main__":
    uvloop.run(serve(arguments()))
