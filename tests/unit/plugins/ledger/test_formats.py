from __future__ import annotations

import csv
import io

import msgspec

from plugins.ledger.formats import Format, write
from plugins.ledger.usage import Line, Report


def report(*lines: Line, totals: tuple[Line, ...] = (), notes: tuple[str, ...] = ()) -> Report:
    return Report("2026-11-01", "2026-12-01", "ledger_days", [*lines], [*totals], truncated=False, notes=[*notes])


def test_a_spreadsheet_takes_no_name_for_a_formula() -> None:
    attacks = [
        "=1+1",
        "+1",
        "-1",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        "\n=1",
        " =1",
        "\N{FULLWIDTH EQUALS SIGN}1",
        '=cmd|"/C calc"!A0',
    ]
    text = write(report(*({"user": attack, "calls": 1, "cost": "1.5"} for attack in attacks)), Format.CSV)
    rows = list(csv.reader(io.StringIO(text, newline="")))
    assert rows[0] == ["user", "calls", "cost"]
    assert [row[0] for row in rows[1:]] == [f"'{attack}" for attack in attacks]
    assert all(row[1:] == ["1", "1.5"] for row in rows[1:])


def test_csv_keeps_what_is_harmless_as_it_is() -> None:
    text = write(report({"user": 'a "b", c\nd', "calls": 12_345, "mean_total_ms": None}), Format.CSV)
    assert list(csv.reader(io.StringIO(text, newline=""))) == [
        ["user", "calls", "mean_total_ms"],
        ['a "b", c\nd', "12345", ""],
    ]
    assert write(report(), Format.CSV) == ""


def test_json_is_the_whole_report() -> None:
    given = report({"tenant": "acme", "calls": 1}, totals=({"calls": 1},), notes=("a note",))
    assert msgspec.json.decode(write(given, Format.JSON), type=Report) == given


def test_a_table_for_people() -> None:
    lines: tuple[Line, ...] = (
        {"tenant": "acme", "currency": "USD", "calls": 12_345, "cost": "1.500000000", "unpriced_calls": 0},
        {"tenant": "b\x1b[2J\nc", "currency": "USD", "calls": 5, "cost": "0.000000000", "unpriced_calls": 0},
    )
    total: Line = {"currency": "USD", "calls": 12_350, "cost": "1.500000000", "unpriced_calls": 0}
    assert write(report(*lines, totals=(total,), notes=("something is missing",)), Format.TABLE).splitlines() == [
        "from 2026-11-01 to 2026-12-01 (not included), UTC",
        "",
        "tenant   currency   calls         cost",
        "acme     USD       12,345  1.500000000",
        "b\ufffd[2J\ufffdc  USD            5  0.000000000",
        "--------------------------------------",
        "total    USD       12,350  1.500000000",
        "",
        "! something is missing",
    ]
    assert write(report(), Format.TABLE).splitlines()[-1] == "no calls"
