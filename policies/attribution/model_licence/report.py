"""A month for an auditor: what was used under which licence, what was emitted, what was attested, and what was over."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Sequence

import msgspec
from msgspec import Struct

from gateway.errors import InvalidRequest
from policies.attribution.model_licence.calls import Use, calls_between
from policies.attribution.model_licence.desk import Desk
from policies.attribution.model_licence.failures import database_failures
from policies.attribution.model_licence.history import Row, rows_after
from policies.attribution.model_licence.products import Attestation, Evidence, Product, Snapshot
from policies.attribution.model_licence.records import LicenceRecord
from policies.attribution.model_licence.states import Agreement, State, judge
from policies.attribution.model_licence.telling import Told
from policies.attribution.model_licence.verifying import Verdict, verify

OVER = (State.ABOVE_DISPLAYED, State.ABOVE_NOT_DISPLAYED)

_MONTH = re.compile(r"(\d{4})-(0[1-9]|1[0-2])")


class Period(Struct, frozen=True, kw_only=True):
    """How a product stood, from one moment to another (not included) of the month.

    Attributes:
        since: when that began, which may be before the month; None if it cannot be told.
        over_since: since when it was over a threshold without a break, whether it showed that or not; None if it was not.
    """

    start: int
    end: int
    state: State
    agreement: Agreement
    since: int | None
    over_since: int | None = None


class Standing(Struct, frozen=True, kw_only=True):
    """A product and a licence under which it used weights, or of which something was said.

    Attributes:
        digest: of the record as it is now.
        attestations, evidence: that held at some time of the month, the oldest first.
    """

    product: str
    owner: str
    audience: str
    licence: str
    digest: str
    string: str
    periods: Sequence[Period]
    attestations: Sequence[Attestation]
    evidence: Sequence[Evidence]

    @property
    def over(self) -> Sequence[Period]:
        """When it was over a threshold."""
        return [period for period in self.periods if period.state in OVER]


class Report(Struct, frozen=True, kw_only=True):
    """All of it. Moments are seconds since 1970, the end of the month is not included.

    Attributes:
        until: now, if the month has not ended yet.
        uses: by product, checkpoint and what was emitted.
        history: whether the chain of attestations is whole.
        notes: what is not known.
    """

    month: str
    since: int
    until: int
    made_at: int
    uses: Sequence[Use]
    standings: Sequence[Standing]
    history: Verdict
    notes: Sequence[str]


def month_bounds(month: str) -> tuple[int, int]:
    """The first second of a month such as 2026-11, and that of the next, UTC.

    Raises:
        InvalidRequest: it is no month.
    """
    match = _MONTH.fullmatch(month)
    if match is None or not 1970 <= int(match[1]) <= 9998:  # noqa: PLR2004 - what a date can be
        raise InvalidRequest(f"{month[:40]!r} is no month; write one such as 2026-11.", param="month")
    first = dt.datetime(int(match[1]), int(match[2]), 1, tzinfo=dt.UTC)
    following = (first + dt.timedelta(days=31)).replace(day=1)
    return int(first.timestamp()), int(following.timestamp())


async def report(desk: Desk, month: str) -> Report:
    """Put the report together.

    Raises:
        InvalidRequest: it is no month, or one that has not begun.
        DatabaseUnavailable: the database failed.
    """
    since, end = month_bounds(month)
    now = int(desk.directory.clock())
    if now < since:
        raise InvalidRequest(f"{month} has not begun.", param="month")
    until = min(end, now)
    engine = desk.directory.engine
    with database_failures():
        async with engine.connect() as connection:
            calls = await calls_between(connection, since * 1_000, end * 1_000)
            head = await desk.directory.head()
            rows = [row async for some in rows_after(connection, 0, head.sequence) for row in some]
    verdict = await verify(engine)
    standings = list(_standings(desk, rows, calls.uses, since, until))
    return Report(
        month=month,
        since=since,
        until=until,
        made_at=now,
        uses=sorted(calls.uses, key=_order),
        standings=standings,
        history=verdict,
        notes=[*calls.notes, *_doubts(desk, calls.uses, standings), *_broken(verdict)],
    )


def _order(use: Use) -> tuple[str, ...]:
    emitted = use.emitted
    said = ("", "", "") if emitted is None else (emitted.product or "", emitted.licence, emitted.text())
    return (said[0], use.checkpoint, use.revision, *said[1:], use.model)


def _standings(desk: Desk, rows: Sequence[Row], uses: Iterable[Use], since: int, until: int) -> Iterable[Standing]:
    told, _ = _told_until(Told(), rows, until)
    final = told.snapshot()
    wanted = {(use.emitted.product, use.emitted.licence) for use in uses if use.emitted and use.emitted.product}
    wanted |= {(name, each.licence) for name, said in final.attestations.items() for each in said if each.licence}
    wanted |= {(name, each.licence) for name, said in final.evidence.items() for each in said}
    for name, licence in sorted(
        (name, licence) for name, licence in wanted if name is not None and licence is not None
    ):
        product, record = final.products.get(name), desk.records.get(licence)
        if product is None or record is None:
            continue
        yield Standing(
            product=name,
            owner=product.owner,
            audience=product.audience.value,
            licence=licence,
            digest=record.digest,
            string="" if record.display is None else record.display.string,
            periods=_periods(desk, rows, product, record, (since, until)),
            attestations=_attested(final, name, licence, since),
            evidence=_shown(final, name, licence, since),
        )


def _told_until(told: Told, rows: Sequence[Row], moment: int) -> tuple[Told, Sequence[Row]]:
    """Take the rows that were written by a moment; those that are left."""
    taken = 0
    while taken < len(rows) and rows[taken].at <= moment:
        told.take(rows[taken])
        taken += 1
    return told, rows[taken:]


def _periods(
    desk: Desk, rows: Sequence[Row], product: Product, record: LicenceRecord, month: tuple[int, int]
) -> Sequence[Period]:
    """How it stood, by what was known at each moment at which that may have changed."""
    since, until = month
    mine: Sequence[Row] = [row for row in rows if row.product == product.name]
    ends = [
        each.valid_until
        for each in _told_until(Told(), mine, until)[0].snapshot().attested(product.name, record.id)
    ]  # fmt: skip
    moments = sorted({since, *(row.at for row in mine), *ends})
    told, found = Told(), list[Period]()
    moments = [moment for moment in moments if since <= moment < until]
    for moment, end in zip(moments, [*moments[1:], until], strict=True):
        told, mine = _told_until(told, mine, moment)
        snapshot = told.snapshot()
        known = snapshot.products.get(product.name)
        if known is None:  # it had not been added yet
            continue
        period = _period(desk, record, known, snapshot, (moment, end))
        if found and (found[-1].state, found[-1].agreement) == (period.state, period.agreement):
            period = msgspec.structs.replace(found.pop(), end=end)
        found.append(period)
    return found


def _period(desk: Desk, record: LicenceRecord, product: Product, snapshot: Snapshot, span: tuple[int, int]) -> Period:
    judged = judge(record, product, snapshot, span[0], desk.reading)
    over_since = None
    if judged.state in OVER:
        # Without what was shown, the state does not change when that does.
        unseen = msgspec.structs.replace(snapshot, evidence={})
        over_since = judge(record, product, unseen, span[0], desk.reading).since
    return Period(
        start=span[0],
        end=span[1],
        state=judged.state,
        agreement=judged.agreement,
        since=judged.since,
        over_since=over_since,
    )


def _attested(snapshot: Snapshot, product: str, licence: str, since: int) -> Sequence[Attestation]:
    """Those that held at some time from a moment on: until it ended, or the next one took its place."""
    found = snapshot.attested(product, licence)
    ends = [*(each.attested_at for each in found[1:]), None]
    return [
        each
        for each, replaced in zip(found, ends, strict=False)
        if each.valid_until > since and (replaced is None or replaced > since)
    ]


def _shown(snapshot: Snapshot, product: str, licence: str, since: int) -> Sequence[Evidence]:
    found = snapshot.shown(product, licence)
    ends = [*(each.given_at for each in found[1:]), None]
    return [each for each, replaced in zip(found, ends, strict=False) if replaced is None or replaced > since]


def _doubts(desk: Desk, uses: Sequence[Use], standings: Sequence[Standing]) -> Iterable[str]:
    told = {(standing.product, standing.licence) for standing in standings}
    nobody = sum(use.calls for use in uses if use.emitted is not None and use.emitted.product is None)
    if nobody:
        yield f"{nobody} calls are of callers who belong to no product."
    for product, licence, digest in sorted(
        {(use.emitted.product or "", use.emitted.licence, use.emitted.digest) for use in uses if use.emitted}
    ):
        record = desk.records.get(licence)
        if product and record is not None and (product, licence) not in told:
            yield f"The product {product} is not in the history."
        if record is None and digest:
            yield f"There is no licence record {licence} any more."
        elif record is not None and not record.digest.startswith(digest):
            yield f"The licence record {licence} is not the one ({digest}…) under which calls of {product or 'nobody'} ran."


def _broken(verdict: Verdict) -> Iterable[str]:
    if not verdict.intact:
        yield f"The history was tampered with ({len(verdict.faults)} faults): see `moegate licences audit verify`."
