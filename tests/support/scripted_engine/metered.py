"""Answers as an engine that keeps an account: of each call what it read, what it made and how it ended; nothing is judged.

A prompt's tokens are its words (four more a message), an answer's its pieces, one each interval whether it is streamed or
not. How long it wants to be stands in the prompt, `[[answer:40]]`; `max_tokens` cuts it. A call whose client leaves has
made what it had made by then.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from tests.support.scripted_engine.answers import Peek, Prebuilt
from tests.support.scripted_engine.asked import Asked, Json, Operation, read
from tests.support.scripted_engine.calls import DelayedAnswer, PacedStream
from tests.support.scripted_engine.protocol import EngineProtocol
from tests.support.scripted_engine.turns import Turn, canned
from tests.support.scripted_engine.wire import http_chunk, json_response

_WANTED = re.compile(r"\[\[answer:(\d+)\]\]")
_DEFAULT_TOKENS = 16


@dataclass(slots=True)
class Entry:
    """One call. `id` is the request's `x-request-id`; `finished` calls have told their usage."""

    id: str
    prompt: int
    produced: int = 0
    finished: bool = False

    def as_json(self) -> Json:
        """For `GET /_scripted/account`."""
        return {"id": self.id, "prompt": self.prompt, "produced": self.produced, "finished": self.finished}


class Metered:
    """The account, and the way to answer by it."""

    def __init__(self, prebuilt: Mapping[Operation, Prebuilt]) -> None:
        """Nothing was served yet."""
        self.prebuilt = prebuilt
        self.entries: list[Entry] = []

    def start(self, protocol: EngineProtocol, operation: Operation, fault: str) -> None:
        """Answer one call."""
        asked = read(operation, msgspec.json.decode(protocol.body))
        name = next((value for key, value in protocol.headers if key.lower() == b"x-request-id"), b"")
        entry = Entry(name.decode("latin-1"), asked.words)
        self.entries.append(entry)
        prebuilt = self.prebuilt[operation]
        turn = _turn(asked)
        if asked.stream:
            protocol.engine.state.streams += 1
            protocol.start_call(_Stream(protocol, prebuilt, asked, turn, entry))
        else:
            protocol.start_call(_Whole(protocol, prebuilt, asked, turn, entry))


def _turn(asked: Asked) -> Turn:
    found = _WANTED.search(asked.question)
    wanted = int(found[1]) if found else _DEFAULT_TOKENS
    limit = asked.limit or wanted
    turn = canned(min(wanted, limit), "length" if wanted > limit else "stop")
    return Turn(content=turn.content, finish=turn.finish, prompt_tokens=asked.words)


class _Stream(PacedStream):
    __slots__ = ("entry",)

    def __init__(self, protocol: EngineProtocol, prebuilt: Prebuilt, asked: Asked, turn: Turn, entry: Entry) -> None:
        limit = len(turn.content)
        super().__init__(protocol, prebuilt, Peek(max_tokens=limit))
        self.chunks = prebuilt.chunks[asked.wants_usage]
        self.finish = turn.finish or "stop"
        self.tail = (http_chunk(prebuilt.shape.usage_event(turn)) if asked.wants_usage else b"") + prebuilt.done
        self.entry = entry

    def tick(self) -> None:
        super().tick()
        self.entry.produced = self.sent
        self.entry.finished = self.sent >= self.count


class _Whole(DelayedAnswer):
    __slots__ = ("count", "entry", "first", "interval", "started_at")

    def __init__(self, protocol: EngineProtocol, prebuilt: Prebuilt, asked: Asked, turn: Turn, entry: Entry) -> None:
        engine = protocol.engine
        self.entry = entry
        self.count = len(turn.content)
        self.interval = engine.interval
        self.first = engine.first_chunk_delay
        self.started_at = engine.loop.time()
        answer = json_response(200, prebuilt.shape.whole(turn, asked))
        super().__init__(protocol, answer, self.first + self.count * self.interval)

    def send(self, answer: bytes) -> None:
        self.entry.produced, self.entry.finished = self.count, True
        super().send(answer)

    def abort(self) -> None:
        super().abort()
        working = self.protocol.engine.loop.time() - self.started_at - self.first
        made = int(working / self.interval) if self.interval else self.count
        self.entry.produced = min(max(made, 0), self.count)
