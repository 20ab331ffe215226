"""Writes reports as a table for people, CSV for spreadsheets, JSON for programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from enum import StrEnum

import msgspec

from plugins.ledger.usage import Cell, Line, Report

# A spreadsheet takes a text that begins so for a formula. Names of users are theirs to choose.
_FORMULA = tuple(
    "=+-@\t\r\n\N{FULLWIDTH EQUALS SIGN}\N{FULLWIDTH PLUS SIGN}\N{FULLWIDTH HYPHEN-MINUS}\N{FULLWIDTH COMMERCIAL AT}"
)

TOTAL = "total"


class Format(StrEnum):
    """How to write a report."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


def write(report: Report, form: Format) -> str:
    """The report as text, with a line's end at its end."""
    if form is Format.JSON:
        return msgspec.json.format(msgspec.json.encode(report)).decode() + "\n"
    return _csv(report.lines) if form is Format.CSV else _table(report)


def _csv(lines: Sequence[Line]) -> str:
    """RFC 4180, with names in the first line; costs and numbers as they are, and texts that no program takes for more."""
    out = io.StringIO()
    writer = csv.writer(out)
    if lines:
        writer.writerow(lines[0])
    for line in lines:
        writer.writerow([_harmless(name, value) for name, value in line.items()])
    return out.getvalue()


def _harmless(name: str, value: Cell) -> Cell:
    if isinstance(value, str) and name not in ("cost", "estimated_cost") and value.lstrip(" ").startswith(_FORMULA):
        return f"'{value}"
    return value


def _table(report: Report) -> str:
    """Numbers to the right, texts to the left; columns in which nothing stands are left off."""
    names = [name for name in (report.lines or report.totals or [{}])[0] if _says_something(name, report)]
    body = [[_cell(line.get(name)) for name in names] for line in report.lines]
    # The totals of one line are that line.
    totals = [] if len(report.lines) < 2 else [_total(line, names) for line in report.totals]  # noqa: PLR2004 - see above
    rows = [names, *body, *totals]
    widths = [max(len(row[place]) for row in rows) for place in range(len(names))]
    right = [any(isinstance(line.get(name), int | float) for line in report.lines) or "cost" in name for name in names]
    written = [
        "  ".join(
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in rows
    ]
    if totals:
        written.insert(1 + len(body), "-" * (sum(widths) + 2 * (len(widths) - 1)))
    head = f"from {report.since} to {report.until} (not included), UTC"
    empty = [] if report.lines else ["no calls"]
    return "\n".join([head, "", *(written if report.lines else []), *empty, *_notes(report)]) + "\n"


def _notes(report: Report) -> list[str]:
    return ["", *(f"! {note}" for note in report.notes)] if report.notes else []


def _says_something(name: str, report: Report) -> bool:
    return any(line.get(name) not in ("", 0, None, 0.0, "0.000000000") for line in report.lines) or name == "calls"


def _total(line: Line, names: Sequence[str]) -> list[str]:
    cells = [_cell(line.get(name)) for name in names]
    return [TOTAL if place == 0 and not cell else cell for place, cell in enumerate(cells)]


def _cell(value: Cell) -> str:
    if value is None:
        return ""
    if isinstance(value, int):
        return f"{value:,}"
    # What a caller chose must not move the cursor or start a line.
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in str(value))
