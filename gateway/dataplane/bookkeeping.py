"""What is done with a call at its end, in order: its account, the journals on its way, the recorders off it."""

from __future__ import annotations

import time
from collections.abc import Sequence

import structlog

from gateway.contracts.assigning import Assigned
from gateway.contracts.call import Call, Decision, Ending, Outcome
from gateway.contracts.plugin import Journal
from gateway.dataplane.accounting import Accounting
from gateway.dataplane.attempting import Answer
from gateway.dataplane.recording import Recording

log = structlog.get_logger("moegate.bookkeeping")

CLIENT_CLOSED_REQUEST = 499  # nginx's number; no client ever sees it


class Bookkeeping:
    """The books of one runtime. A fault in one of them takes neither the call nor the others with it.

    Attributes:
        recording: the queue to the recorders.
        failed: times that the account or a journal crashed.
    """

    def __init__(self, accounting: Accounting, journals: Sequence[tuple[str, Journal]], recording: Recording) -> None:
        self._accounting = accounting
        self._journals = tuple(journals)
        self.recording = recording
        self.failed = 0

    def write(self, call: Call, outcome: Outcome, decision: Decision) -> None:
        """Complete the outcome and write it down; never waits."""
        try:
            self._accounting.complete(call, outcome)
        except Exception:
            self.failed += 1
            log.exception("accounting failed", call_id=call.call_id)
        for name, journal in self._journals:
            try:
                journal.append(call, outcome, decision)
            except Exception:
                self.failed += 1
                log.exception("journal failed", journal=name, call_id=call.call_id)


class Entry:
    """A call's entry in the books: written once, when the last piece of the answer is about to leave, else at the call's end.

    Not after that piece: else a process that is killed in between has given an answer away that is in no book.

    Attributes:
        outcome: filled in as the call goes on, and final once `written`.
        answer: the engine's, once there is one; it tells what was used.
        arm: of an experiment, if the call is in one.
    """

    __slots__ = ("_books", "_call", "answer", "arm", "decision", "outcome", "written")

    def __init__(self, books: Bookkeeping, call: Call) -> None:
        self.outcome, self.decision = Outcome(ending=Ending.FAILED, status=0), Decision()
        self.answer: Answer | None = None
        self.arm: Assigned | None = None
        self.written = False
        self._books = books
        self._call = call

    def write(self) -> None:
        """Write it, unless that has been done."""
        if self.written:
            return
        self.written = True
        if self.answer is not None:
            self.answer.note(self.outcome)
        self.outcome.total_seconds = time.monotonic() - self._call.received_at
        self._books.write(self._call, self.outcome, self.decision)

    def break_off(self) -> None:
        """The client left, or the server stops, before the answer's end."""
        if not self.written:
            outcome = self.outcome
            outcome.ending, outcome.status, outcome.error_code = Ending.DISCONNECTED, CLIENT_CLOSED_REQUEST, None
