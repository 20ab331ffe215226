"""Reads what a call of an experiment, or a copy of one, came to: was it served, what does the answer say, is it as it should be."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from gateway import Ending, Operation
from gateway.dataplane import sse
from plugins.experiments.compare.checks import Checker
from plugins.experiments.compare.parts import Parts
from plugins.experiments.compare.results import Answer, Checks
from plugins.experiments.live.watching import Seen


class Reading(Struct, frozen=True, eq=False):
    """One call or copy.

    Attributes:
        served: by the arm itself.
        answer: of a chat, if there is one to be checked.
        says: yes or no by endpoint; what is not there or None it does not tell.
    """

    seen: Seen
    served: bool
    answer: Answer | None
    says: dict[str, bool | None]

    @property
    def left_out(self) -> bool:
        """It was broken off, by the client or for the sake of others: no fault of the arm's, and no sample of whole answers."""
        return self.seen.outcome.ending is Ending.DISCONNECTED


class Reader:
    """Reads; keeps the validators of the last schemas."""

    def __init__(self) -> None:
        self._checker = Checker()

    def read(self, seen: Seen) -> Reading:
        """Look at one."""
        outcome = seen.outcome
        attempts = outcome.attempts
        served = outcome.error_code is None and bool(attempts) and attempts[-1].replica in seen.replicas
        says: dict[str, bool | None] = {"success_rate": served}
        if not served:
            return Reading(seen, served, None, says)
        says["unmended_rate"] = not outcome.transforms
        if seen.call.operation is not Operation.CHAT or seen.answer is None:
            return Reading(seen, served, None, says)
        answer = read_answer(seen.answer, stream=seen.call.stream)
        if answer.error:
            return Reading(seen, served, None, says)
        checks = self._check(seen, answer)
        says |= {
            "schema_accuracy": checks.schema_valid,
            "nonempty_rate": not checks.empty,
            "clean_rate": not checks.marker,
            "json_rate": checks.json_valid,
        }
        if seen.call.has_tools:
            says["tool_call_rate"] = answer.finish_reason == "tool_calls"
            says["declared_rate"] = None if not answer.tool_calls else not checks.undeclared
        return Reading(seen, served, answer, says)

    def _check(self, seen: Seen, answer: Answer) -> Checks:
        fields = seen.call.fields
        body: dict[str, Any] = {
            name: msgspec.json.decode(fields[name]) for name in ("tools", "response_format") if name in fields
        }
        try:
            return self._checker.check(body, answer)
        except (KeyError, TypeError, AttributeError):  # tools of a shape that the engine should have refused
            return Checks()


def read_answer(content: bytes, *, stream: bool) -> Answer:
    """An answer of a chat as the client got it."""
    parts = Parts()
    if stream:
        for event in sse.split(content):
            payload = sse.data(event)
            if payload is not None:
                parts.event(payload)
    else:
        parts.body(content)
    return parts.whole()
