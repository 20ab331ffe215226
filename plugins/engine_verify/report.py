"""What came of a verification: the report, the exit status it means, and how it is printed; finds nothing out itself."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from msgspec import Struct

from gateway import FactName
from plugins.engine_verify.comparing import Figures
from plugins.engine_verify.judging import Check, Finding, Verdict
from plugins.engine_verify.settings import Precision

EXIT_SAME = 0
EXIT_DIFFERS = 1
EXIT_UNREACHABLE = 2


class ReplicaReport(Struct, frozen=True, kw_only=True):
    """What was found of one replica. `unreachable` says why nothing was, where nothing was."""

    replica: str
    backend: str
    told: Mapping[str, str] = {}
    weight_format: str | None = None
    is_reference: bool = False
    findings: tuple[Finding, ...] = ()
    figures: Figures = Figures()
    judged_as: Precision | None = None
    unreachable: str | None = None

    def finding(self, check: Check) -> Finding | None:
        """What came of one check."""
        return next((each for each in self.findings if each.check is check), None)


class ModelReport(Struct, frozen=True):
    """One model: its reference first, then the replicas that were compared with it.

    `by_reference_engine` says whether that reference is an engine made to be one, or only another replica.
    """

    model: str
    reference: str
    replicas: tuple[ReplicaReport, ...]
    by_reference_engine: bool = True

    def of(self, replica: str) -> ReplicaReport:
        """What was found of one replica, by its name."""
        return next(each for each in self.replicas if each.replica == replica)


def exit_status(reports: Sequence[ModelReport], accepted: Collection[Check] = ()) -> int:
    """1 if something differs that is not accepted, else 2 if a replica could not be asked, else 0.

    In this order, because a difference that was found is certain.
    """
    replicas = [replica for report in reports for replica in report.replicas]
    findings = [finding for replica in replicas for finding in replica.findings if finding.check not in accepted]
    if any(finding.verdict is Verdict.DIFFERS for finding in findings):
        return EXIT_DIFFERS
    return EXIT_UNREACHABLE if any(replica.unreachable for replica in replicas) else EXIT_SAME


def lines(report: ModelReport) -> list[str]:
    """One model's report for people: a table, then a line for all that the table cannot hold."""
    header = ("REPLICA", "ENGINE", *(check.value.upper() for check in Check), "MEAN |Δ|", "MAX |Δ|", "AGREED")
    rows = [header, *(_row(replica) for replica in report.replicas)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return [f"{report.model}, compared with {report.reference}", *table, *_remarks(report)]


def _row(replica: ReplicaReport) -> tuple[str, ...]:
    engine = " ".join(filter(None, [replica.backend, printable(replica.told.get(FactName.VERSION, ""))]))
    found = [replica.finding(check) for check in Check]
    if replica.unreachable:
        verdicts = [found[0].verdict.value if found[0] is not None else "-"] + ["unreachable"] * (len(found) - 1)
    elif replica.is_reference:
        verdicts = [found[0].verdict.value if found[0] is not None else "-"] + ["(reference)"] * (len(found) - 1)
    else:
        verdicts = [finding.verdict.value if finding is not None else "-" for finding in found]
    figures = replica.figures
    amounts = [
        f"{value:.5f}" if value is not None else "-" for value in (figures.mean_difference, figures.max_difference)
    ]
    agreed = f"{figures.agreed}/{figures.tokens}" if figures.tokens else "-"
    return (replica.replica, engine, *verdicts, *amounts, agreed)


def _remarks(report: ModelReport) -> list[str]:
    found = []
    for replica in report.replicas:
        if replica.unreachable:
            found.append(f"{replica.replica}: cannot be asked: {printable(replica.unreachable)}")
        for finding in replica.findings:
            # What is the same needs no explanation, except how far the numbers are apart.
            if finding.verdict is not Verdict.SAME or finding.check is Check.LOGPROBS:
                text = printable(finding.detail)
                found.append(f"{replica.replica}: {finding.check.value}: {finding.verdict.value}: {text}")
    if not report.by_reference_engine:
        found.append(
            f"{report.reference} is no reference engine but a replica like the others: what all have wrong does not show"
        )
    if len(report.replicas) == 1:
        found.append(f"{report.reference} is the only replica that was asked: there is nothing to compare it with")
    return found


def printable(text: str) -> str:
    """An engine's words for a terminal, which must not obey them."""
    return "".join(character if character.isprintable() else "?" for character in text)
