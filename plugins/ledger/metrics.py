"""How this gateway's ledger is, as metrics; reads what its parts have counted."""

from __future__ import annotations

from gateway import Metric
from gateway.contracts.metrics import counter, gauge
from plugins.ledger.shipping import Shipper
from plugins.ledger.writer import JournalWriter


def metrics_of(writer: JournalWriter, shipper: Shipper) -> list[Metric]:
    """For exporters; since the process started, or since a reload that changed the ledger's settings."""
    shipped = shipper.shipped
    return [
        counter("moegate_ledger_written", "Frames written to the journal: calls, and notes of gaps.", writer.written),
        counter("moegate_ledger_shipped", "Calls that the database took.", shipped.calls),
        counter("moegate_ledger_shipped_again", "Calls that the database had already.", shipped.again),
        counter("moegate_ledger_lost", "Calls that neither disk nor memory could take.", writer.lost),
        counter("moegate_ledger_refused", "Calls that were refused because the journal was full.", writer.refused),
        counter("moegate_ledger_damaged", "Places in journals that could not be read.", shipped.damaged),
        counter("moegate_ledger_set_aside", "Calls that the database does not take.", shipped.set_aside),
        gauge("moegate_ledger_waiting_bytes", "Of the journal, what the database has not.", shipper.waiting_bytes()),
        gauge("moegate_ledger_unwritten", "Calls in memory because the disk takes nothing now.", writer.unwritten),
        gauge(
            "moegate_ledger_lag_seconds",
            "How long ago the database had all that was written; 0 while it has.",
            shipper.lag_seconds(),
        ),
        gauge("moegate_ledger_refusing", "1 while new calls are refused.", int(writer.refusing)),
    ]
