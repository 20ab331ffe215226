"""Asks a gateway one question on a connection of its own, and judges the answer against what the engine must say."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import httptools

from tests.integration.asking import CHAT, DONE, payloads

# Longer than any scenario holds a call: a call that is still there then hangs.
ANSWER_SECONDS = 90.0


class Verdict(StrEnum):
    """What a client got."""

    RIGHT = "right"
    ERROR = "error"
    REFUSED = "refused"  # nobody took the connection, or it ended before a byte of an answer
    CUT = "cut"  # a begun answer just ends: a client can tell, but was not told
    HANGS = "hangs"
    WRONG = "wrong"  # what looks whole is not what the engine had to say


class Question(Protocol):
    """One call, and what is a right answer to it."""

    @property
    def stream(self) -> bool:
        """Whether the answer comes in events."""

    def body(self) -> bytes:
        """The request."""

    def expected(self, replica: str) -> tuple[str, str]:
        """Text and finish reason of the answer, if this replica gives it."""


@dataclass(frozen=True, slots=True)
class Said:
    """What came back: a verdict, the error's code (or what is wrong), and how many replicas were tried."""

    verdict: Verdict
    code: str = ""
    attempts: int = 0
    replica: str = ""


class Answer:
    """Collects one HTTP answer."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.content = bytearray()
        self.whole = False
        self._parser = httptools.HttpResponseParser(self)

    @property
    def status(self) -> int:
        """The status code."""
        return int(self._parser.get_status_code())

    def feed(self, data: bytes) -> None:
        """Bytes off the wire."""
        self._parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by the parser."""
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        """Called by the parser."""
        self.content += body

    def on_message_complete(self) -> None:
        """Called by the parser."""
        self.whole = True


def judge(question: Question, answer: Answer) -> Said:
    """Compare; only a whole answer with the expected text, its finish reason and its one end is right."""
    if not answer.headers:
        return Said(Verdict.REFUSED)
    attempts = int(answer.headers.get("x-moegate-attempts", "0"))
    replica = answer.headers.get("x-moegate-replica", "")
    if answer.status != 200:
        code = answer.headers.get("x-moegate-error", "")
        return Said(Verdict.ERROR if answer.whole and code else Verdict.CUT, code, attempts, replica)
    content = bytes(answer.content)
    if not answer.whole:
        ended = question.stream and DONE in payloads(content)
        return Said(
            Verdict.WRONG if ended else Verdict.CUT, "an end without an end" if ended else "", attempts, replica
        )
    try:
        verdict, code = (_stream if question.stream else _object)(question.expected(replica), content)
    except (ValueError, KeyError, IndexError, TypeError) as error:
        verdict, code = Verdict.WRONG, f"no answer in its API's shape: {type(error).__name__}"
    return Said(verdict, code, attempts, replica)


def _stream(expected: tuple[str, str], content: bytes) -> tuple[Verdict, str]:
    events = payloads(content)
    errors = [event for event in events if event.startswith(b'{"error"')]
    if errors:
        told = errors == events[-1:]
        return (
            (Verdict.ERROR, str(json.loads(errors[0])["error"]["code"])) if told else (Verdict.WRONG, "on after error")
        )
    if events[-1:] != [DONE] or events.count(DONE) != 1:
        return Verdict.WRONG, "no end"
    choices = [choice for event in events[:-1] for choice in json.loads(event)["choices"]]
    text = "".join(choice["delta"].get("content") or "" for choice in choices)
    finishes = [choice["finish_reason"] for choice in choices if choice.get("finish_reason")]
    right = text == expected[0] and finishes == [expected[1]]
    return (Verdict.RIGHT, "") if right else (Verdict.WRONG, f"{len(text)} characters, {finishes}")


def _object(expected: tuple[str, str], content: bytes) -> tuple[Verdict, str]:
    choice = json.loads(content)["choices"][0]
    right = (choice["message"]["content"], choice["finish_reason"]) == expected
    return (Verdict.RIGHT, "") if right else (Verdict.WRONG, "another text")


def request_bytes(key: str, question: Question) -> bytes:
    """The whole request, for a connection that serves it alone."""
    body = question.body()
    head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
    return head.encode() + body


async def ask(port: int, key: str, question: Question, *, leave_after: int | None = None) -> Said | None:
    """Ask; whatever goes wrong with the connection is a verdict, not an exception.

    Args:
        port: of a gateway on this machine.
        key: a key it knows.
        question: what to ask.
        leave_after: leave once so many bytes of the answer have come; the answer is then None.
    """
    answer = Answer()
    read = 0
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(request_bytes(key, question))
                while data := await reader.read(65_536):
                    answer.feed(data)
                    read += len(data)
                    if leave_after is not None and read >= leave_after and not answer.whole:
                        return None
            finally:
                writer.transport.abort()
    except TimeoutError:
        return Said(Verdict.HANGS)
    except httptools.HttpParserError:
        return Said(Verdict.WRONG, "not HTTP")
    except OSError:
        pass
    return judge(question, answer)
