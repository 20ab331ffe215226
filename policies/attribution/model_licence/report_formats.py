"""Writes a month's report as Markdown for people, CSV for spreadsheets, JSON for programs."""

from __future__ import annotations

import csv
import datetime as dt
import io
from collections.abc import Iterable, Sequence
from enum import StrEnum

import msgspec

from policies.attribution.model_licence.calls import Use
from policies.attribution.model_licence.products import Attestation
from policies.attribution.model_licence.report import Report, Standing

# A spreadsheet takes a text that begins so for a formula.
_FORMULA = tuple("=+-@\t\r\n")


class Format(StrEnum):
    """How to write a report."""

    MD = "md"
    CSV = "csv"
    JSON = "json"


def write(report: Report, form: Format) -> str:
    """The report as text, with a line's end at its end."""
    if form is Format.JSON:
        return msgspec.json.format(msgspec.json.encode(report)).decode() + "\n"
    return _csv(report) if form is Format.CSV else "\n".join(_markdown(report)) + "\n"


_USE_HEADS = (
    *("product", "checkpoint", "revision", "model", "licence", "record", "state", "mode", "refused", "emitted"),
    *("calls", "estimated calls", "prompt tokens", "completion tokens", "first", "last"),
)


def _use_cells(use: Use) -> list[str]:
    said = use.emitted
    decided = ["", "", "", "", "", "", ""]
    if said is not None:
        decided = [said.product or "", said.licence, said.digest, said.state.value, said.mode, said.refused, said.shown]
    product, licence, record, *rest = decided
    sums = (use.calls, use.estimated_calls, use.prompt_tokens, use.completion_tokens)
    weights = [use.checkpoint, use.revision, use.model]
    return [product, *weights, licence, record, *rest, *map(str, sums), when(use.first_at), when(use.last_at)]


def _csv(report: Report) -> str:
    """RFC 4180; what was used and emitted, and beside each line how its product stood at the end of the month."""
    last = {
        (standing.product, standing.licence): standing.periods[-1] for standing in report.standings if standing.periods
    }
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["month", *_USE_HEADS, "state at end", "since", "over since"])
    for use in report.uses:
        said = use.emitted
        period = last.get((said.product or "", said.licence)) if said is not None else None
        ending = ["", "", ""]
        if period is not None:
            ending = [period.state.value, when(period.since), when(period.over_since)]
        writer.writerow([report.month, *(_harmless(cell) for cell in _use_cells(use)), *ending])
    return out.getvalue()


def _harmless(text: str) -> str:
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) else text


def _markdown(report: Report) -> Iterable[str]:
    yield f"# Licences of the models used in {report.month}"
    yield ""
    part = "" if report.until < report.made_at else ", as far as it has come"
    yield f"From {when(report.since)} to {when(report.until)} (not included){part}. Made {when(report.made_at)}."
    for note in report.notes:
        yield f"\n**Note:** {_plain(note)}"
    yield "\n## What was used, and what was emitted with it\n"
    yield from _table(_USE_HEADS, [_use_cells(use) for use in report.uses])
    yield "\n## What was over a threshold\n"
    yield from _over(report.standings)
    for standing in report.standings:
        yield from _standing(standing)
    yield "\n## History of attestations\n"
    history = report.history
    state = (
        "whole" if history.intact else f"**tampered with**: {'; '.join(fault.text for fault in history.faults[:20])}"
    )
    yield f"{history.rows} rows, {state}. Head: `{history.head}`. {history.not_known}"


def _over(standings: Sequence[Standing]) -> Iterable[str]:
    rows = [
        (standing.product, standing.licence, standing.string, period.state.value, when(period.over_since),
         when(period.start), when(period.end))
        for standing in standings
        for period in standing.over
    ]  # fmt: skip
    yield from _table(("product", "licence", "must show", "state", "over since", "from", "to"), rows)


def _standing(standing: Standing) -> Iterable[str]:
    yield f"\n## {_plain(standing.product)} under {standing.licence}\n"
    shown = f"must show “{_plain(standing.string)}” above the thresholds" if standing.string else "nothing to show"
    yield f"Owner: {_plain(standing.owner)}; {standing.audience}. Record `{standing.digest}`: {shown}.\n"
    heads = ("from", "to", "state", "agreement", "since")
    yield from _table(
        heads,
        [(when(p.start), when(p.end), p.state.value, p.agreement.value, when(p.since)) for p in standing.periods],
    )
    yield "\nAttested:\n"
    yield from _table(
        ("written down", "by", "as of", "monthly users", "monthly revenue", "12 months' revenue", "rate", "until"),
        [_attested(each) for each in standing.attestations],
    )
    yield "\nEvidence of display:\n"
    yield from _table(
        ("given", "by", "kind", "what", "string", "displayed", "digest"),
        [
            (when(e.given_at), e.given_by, e.kind.value, e.value, e.string, "yes" if e.displayed else "no", e.digest)
            for e in standing.evidence
        ],
    )


def _attested(said: Attestation) -> Sequence[str]:
    def money(amount: int | None) -> str:
        return "" if amount is None else f"{amount} {said.currency}"

    users = "" if said.monthly_active_users is None else str(said.monthly_active_users)
    rate = "" if said.rate is None else f"{said.rate} {said.rate_currency}/{said.currency}"
    return (
        when(said.attested_at), said.attested_by, said.as_of.isoformat(), users,
        money(said.monthly_revenue), money(said.aggregate_revenue), rate, when(said.valid_until),
    )  # fmt: skip


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterable[str]:
    if not rows:
        yield "None."
        return
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    for row in rows:
        yield f"| {' | '.join(_plain(cell) for cell in row)} |"


def _plain(text: str) -> str:
    """A text that somebody chose, so that it can neither end a cell nor begin a tag or a link."""
    shown = "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)
    for sign in "\\`*_[]|<>":
        shown = shown.replace(sign, f"\\{sign}")
    return shown


def when(seconds: int | None) -> str:
    """A time for people, in UTC."""
    return "" if seconds is None else dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%d %H:%M:%SZ")
