"""Answers everything but inference: models, health, metrics and the door for tests; it serves no completion."""

from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

import msgspec

from tests.support.scripted_engine.asked import Json, Operation
from tests.support.scripted_engine.dialects.dialect import nested
from tests.support.scripted_engine.dialects.judging import Refusal
from tests.support.scripted_engine.faults import FAULTS
from tests.support.scripted_engine.protocol import Engine, EngineProtocol
from tests.support.scripted_engine.state import COUNTERS, GAUGES
from tests.support.scripted_engine.wire import json_response

if TYPE_CHECKING:
    import asyncio

MAX_WAIT_SECONDS = 60.0
ABORTABLE = ("sglang", "ktransformers")


def bad(message: str) -> Json:
    """The body of a refused control request."""
    return nested(Operation.CHAT, Refusal(400, message, "BadControl"))


class Control(msgspec.Struct):
    """Every field a control request may carry."""

    gate: str | None = None
    calls: list[str] = []
    fault_for_all: str | None = None
    health_status: int | None = None
    accept: bool | None = None
    drop: bool = False


class ControlDoor:
    """The routes beside inference."""

    def __init__(self, engine: Engine, listen: Callable[[bool], Awaitable[None]]) -> None:
        """Keep what the routes need: the engine and a way to stop and start listening."""
        self.engine = engine
        self.listen = listen
        self.pending: set[asyncio.Task[None]] = set()
        state = engine.state
        self.verbs: dict[tuple[str, str], Callable[[Control, EngineProtocol], object]] = {
            ("GET", "state"): lambda *_: state.as_json(),
            ("GET", "calls"): lambda *_: [call.as_json() for call in state.history],
            ("GET", "aborts"): lambda *_: {str(client): moment for client, moment in state.aborts.items()},
            ("GET", "faults"): lambda *_: {name: script.__doc__ for name, script in sorted(FAULTS.items())},
            ("POST", "release"): lambda asked, _: {"released": state.release(asked.gate)},
            ("POST", "reset"): lambda *_: state.reset(),
            ("POST", "script"): lambda asked, _: self.script(asked),
        }

    def __call__(self, protocol: EngineProtocol, method: str, url: bytes, body: bytes) -> None:
        """Answer one request."""
        path, _, query = url.decode("latin-1").partition("?")
        write = protocol.transport.write
        if path.startswith("/_scripted/"):
            self.scripted(protocol, method, path.removeprefix("/_scripted/"), query, body)
            return
        if (method, path) == ("POST", "/abort_request") and self.engine.dialect.name in ABORTABLE:
            self.abort_request(protocol, body)
            return
        state = self.engine.state
        state.probes += 1
        side = self.engine.dialect.sides.get(path)
        if side is not None:
            write(side(state, self.engine.model))
        else:
            write(json_response(404, self.engine.dialect.no_route))
        if state.watchers:
            state.changed()

    def abort_request(self, protocol: EngineProtocol, body: bytes) -> None:
        """End a call by its rid, whether its client has left or not; an unknown one is no error."""
        rid = str(msgspec.json.decode(body).get("rid", ""))
        state = self.engine.state
        state.abort_requests += 1
        orphan = self.engine.orphans.pop(rid, None)
        if orphan is not None:
            orphan.abort()
            state.running -= 1
            state.aborted += 1
        for other in list(self.engine.protocols):
            if other.call is not None and rid and other.call.rid == rid:
                other.transport.close()
        protocol.transport.write(json_response(200, {}))
        state.changed()

    def scripted(self, protocol: EngineProtocol, method: str, verb: str, query: str, body: bytes) -> None:
        """The door for tests; GET looks, POST changes."""
        write = protocol.transport.write
        try:
            asked = msgspec.json.decode(body, type=Control) if body else Control()
        except msgspec.DecodeError as error:
            write(json_response(400, bad(str(error))))
            return
        if (method, verb) == ("GET", "wait"):
            self.later(self.wait(protocol, query))
            return
        if (method, verb) == ("POST", "listen"):
            self.later(self.listening(asked, protocol))
            return
        answer = self.verbs.get((method, verb))
        if answer is None:
            write(json_response(404, bad(f"no control verb {method} {verb!r}")))
        else:
            write(json_response(200, msgspec.json.encode(answer(asked, protocol))))

    def script(self, asked: Control) -> dict[str, object]:
        """Queue faults for the next calls, or set what lasts until reset."""
        state = self.engine.state
        state.script.extend(asked.calls)
        if asked.fault_for_all is not None:
            state.fault_for_all = asked.fault_for_all
        if asked.health_status is not None:
            state.health_status = asked.health_status
        return state.as_json()

    def later(self, answer: Coroutine[None, None, None]) -> None:
        """Answer from a task, for what cannot be answered at once."""
        task = self.engine.loop.create_task(answer)
        self.pending.add(task)
        task.add_done_callback(self.pending.discard)

    async def listening(self, asked: Control, protocol: EngineProtocol) -> None:
        """Stop or start listening on the engine's port, and drop what is connected if asked."""
        if asked.accept is not None:
            await self.listen(asked.accept)
        if asked.drop:
            for other in [each for each in self.engine.protocols if each is not protocol]:
                other.transport.abort()
        protocol.transport.write(json_response(200, self.engine.state.as_json()))

    async def wait(self, protocol: EngineProtocol, query: str) -> None:
        """Answer once the counts are as asked (`running=0&aborted=1&seen__ge=3`), or 408 with the state."""
        state = self.engine.state
        wanted = dict(parse_qsl(query))
        timeout = min(float(wanted.pop("timeout_seconds", "5")), MAX_WAIT_SECONDS)
        unknown = [key for key in wanted if key.removesuffix("__ge") not in GAUGES + COUNTERS]
        if unknown:
            protocol.transport.write(json_response(400, bad(f"no such count: {unknown}")))
            return
        exact = {key: int(value) for key, value in wanted.items() if not key.endswith("__ge")}
        least = {key.removesuffix("__ge"): int(value) for key, value in wanted.items() if key.endswith("__ge")}

        def holds() -> bool:
            return all(getattr(state, key) == value for key, value in exact.items()) and all(
                getattr(state, key) >= value for key, value in least.items()
            )

        met = await state.until(holds, timeout)
        protocol.transport.write(json_response(200 if met else 408, msgspec.json.encode(state.as_json())))
