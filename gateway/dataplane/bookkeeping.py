"""What is done with a call at its end, in order: its account, the journals on its way, the recorders off it."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from gateway.contracts.call import Call, Decision, Outcome
from gateway.contracts.plugin import Journal
from gateway.dataplane.accounting import Accounting
from gateway.dataplane.recording import Recording

log = structlog.get_logger("moegate.bookkeeping")


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
