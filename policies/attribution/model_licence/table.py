"""What is emitted for each product under each licence, made ahead of the calls: header bytes, the ledger's line, refusals."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping

import msgspec
from msgspec import Struct

from gateway import Attribution
from policies.attribution.model_licence.emitted import DIGEST_LENGTH, Emitted
from policies.attribution.model_licence.lineage import Descent
from policies.attribution.model_licence.products import Product, Snapshot
from policies.attribution.model_licence.records import LicenceRecord
from policies.attribution.model_licence.refusals import AckRequired, AgreementRequired, AttributionRequired, Refusal
from policies.attribution.model_licence.settings import Demand, Mode, ModelLicenceSettings
from policies.attribution.model_licence.states import Agreement, Judgement, State, judge

DAY_SECONDS = 86_400
ACK_HEADER = b"x-moegate-attribution-ack"

Labels = tuple[str, str, str, str]
"""Product, licence, state, mode."""


class Tally(Struct):
    """How many attempts at calls had one outcome."""

    annotated: int = 0
    refused: int = 0


class Emission(Struct, frozen=True, eq=False):
    """What one product gets with answers of weights under one licence.

    Attributes:
        plain, whole: without and with what goes into an answer's body; made once, handed out each time.
        refusal: how its calls are refused; with the header `ack` they are served all the same, if there is one.
        until: seconds since 1970, when all of this may be otherwise.
    """

    state: State
    mode: Mode
    plain: Attribution
    whole: Attribution
    refusal: Refusal | None
    ack: tuple[bytes, bytes] | None
    until: float
    tally: Tally


Row = Mapping[str | None, Emission]
"""By product; None for callers who belong to none."""


class Table(Struct, frozen=True, eq=False):
    """All of it for one snapshot; another one takes its place when anything changes.

    Attributes:
        licences: by replica, the id of the licence of its weights.
        rows: by licence.
    """

    snapshot: Snapshot
    licences: Mapping[str, str]
    rows: Mapping[str, Row]


class Compiler:
    """Makes tables of snapshots.

    Args:
        descents: by replica.

    Attributes:
        tallies: what calls were counted under; the counts go on from table to table.
    """

    def __init__(self, settings: ModelLicenceSettings, descents: Mapping[str, Descent]) -> None:
        self._settings = settings
        self._licences = {replica: descent.licence for replica, descent in descents.items()}
        self._records = {descent.licence: descent.record for descent in descents.values()}
        self._digests = {
            name: "" if record is None else record.digest[:DIGEST_LENGTH] for name, record in self._records.items()
        }
        self.tallies: dict[Labels, Tally] = {}

    def table(self, snapshot: Snapshot, now: float, before: Table | None = None) -> Table:
        """Make one; what nothing new was said of is taken over from the one before. Time is `renewed`'s."""
        if before is None or not before.snapshot.products.keys() <= snapshot.products.keys():
            before = None  # another database, or an older copy of it
            changed: list[str | None] = [None, *snapshot.products]
        else:
            changed = [name for name in snapshot.products if _changed(before.snapshot, snapshot, name)]
        rows = {}
        for licence in self._records:
            row = dict(before.rows[licence]) if before is not None else {}
            row.update({name: self.emission(licence, name, snapshot, now) for name in changed})
            rows[licence] = row
        return Table(snapshot, self._licences, rows)

    def renewed(self, table: Table, licence: str, product: str | None, now: float) -> Table:
        """The same table with one place made anew, because its time has come."""
        emission = self.emission(licence, product, table.snapshot, now)
        rows = {**table.rows, licence: {**table.rows[licence], product: emission}}
        return msgspec.structs.replace(table, rows=rows)

    def emission(self, licence: str, name: str | None, snapshot: Snapshot, now: float) -> Emission:
        """What one product gets under one licence."""
        record = self._records[licence]
        product = snapshot.products[name] if name is not None else None
        judgement = judge(record, product, snapshot, now, self._settings.reading)
        mode, grace_ends = self._mode(record, judgement, now)
        agreement = self._agreement(record, product, judgement)
        refusal = agreement or self._refusal(record, name, judgement, mode)
        code = refusal.error.code if refusal is not None else ""
        display = record.display.string if record is not None and record.display is not None else ""
        emitted = Emitted(
            product=name,
            licence=licence,
            digest=self._digests[licence],
            state=judgement.state,
            mode=mode.value,
            shown=display,
        )
        headers = _headers(licence, record, judgement)
        if mode is Mode.WARN:
            headers = (*headers, (b"x-moegate-attribution-warning", _warning(judgement, name, grace_ends).encode()))
        if refusal is not None:
            refused = msgspec.structs.replace(emitted, refused=code)
            refusal = msgspec.structs.replace(refusal, record=refused.text(), headers=headers)
        plain = Attribution(headers, emitted.text())
        labels = (name or "", licence, judgement.state.value, mode.value)
        return Emission(
            state=judgement.state,
            mode=mode,
            plain=plain,
            whole=msgspec.structs.replace(plain, in_answer=_in_answer(licence, record, name, judgement)),
            refusal=refusal,
            ack=(ACK_HEADER, display.encode()) if mode is Mode.REQUIRE_ACK and agreement is None else None,
            until=min(judgement.until, grace_ends),
            tally=self.tallies.setdefault(labels, Tally()),
        )

    def _mode(self, record: LicenceRecord | None, judgement: Judgement, now: float) -> tuple[Mode, float]:
        """What is done, and when the grace of what would be done ends; infinite if it has none left."""
        if record is None or record.display is None:
            return Mode.ANNOTATE, math.inf
        mode = self._settings.mode(judgement.state)
        days = self._settings.grace_days.get(judgement.state, 0)
        if mode in (Mode.ANNOTATE, Mode.WARN) or not days or judgement.since is None:
            return mode, math.inf
        ends = judgement.since + days * DAY_SECONDS
        return (Mode.WARN, ends) if now < ends else (mode, math.inf)

    def _refusal(
        self, record: LicenceRecord | None, name: str | None, judgement: Judgement, mode: Mode
    ) -> Refusal | None:
        if record is None or record.display is None or mode in (Mode.ANNOTATE, Mode.WARN):
            return None
        string = record.display.string
        whose = f"Product {name}" if name is not None else "A caller without a product"
        stands = f"{whose} stands as {judgement.state.value} under licence {record.id} ({string})."
        if mode is Mode.REQUIRE_ACK:
            text = (
                f"{stands} Send the header {ACK_HEADER.decode()}: {string} with each call to confirm that the product's "
                f'user interface shows "{string}"; GET /v1/attribution has something ready to show.'
            )
            return Refusal(AckRequired, text)
        return Refusal(AttributionRequired, f"{stands} What to do: {_remedy(judgement, name)}.")

    def _agreement(self, record: LicenceRecord | None, product: Product | None, judgement: Judgement) -> Refusal | None:
        demand = self._settings.demand_agreement
        if record is None or record.model_as_a_service is None or demand is Demand.NEVER:
            return None
        if judgement.agreement in (Agreement.NOT_APPLICABLE, Agreement.ON_FILE):
            return None
        if demand is Demand.NEEDED and judgement.agreement is not Agreement.NEEDED:
            return None
        whose = f"product {product.name}" if product is not None else "a caller without a product"
        needs = record.model_as_a_service.needs
        return Refusal(AgreementRequired, f"Licence {record.id} asks for {needs}; {whose} has no reference of one.")


def _changed(before: Snapshot, after: Snapshot, name: str) -> bool:
    """Whether anything that is known of a product is another thing than before."""
    return (
        before.products.get(name) is not after.products.get(name)
        or before.attestations.get(name) is not after.attestations.get(name)
        or before.evidence.get(name) is not after.evidence.get(name)
    )


def _headers(licence: str, record: LicenceRecord | None, judgement: Judgement) -> tuple[tuple[bytes, bytes], ...]:
    value = f"{licence}; state={judgement.state.value}"
    if judgement.agreement is not Agreement.NOT_APPLICABLE:
        value += f"; agreement={judgement.agreement.value}"
    headers = [(b"x-moegate-licence", value.encode())]
    if record is not None and record.display is not None:
        headers.insert(0, (b"x-moegate-attribution", record.display.string.encode()))
    if record is not None and record.source is not None:
        headers.append((b"link", f'<{record.source}>; rel="license"'.encode()))
    return tuple(headers)


def _in_answer(licence: str, record: LicenceRecord | None, product: str | None, judgement: Judgement) -> bytes:
    shown = {
        "licence": licence,
        "display": record.display.string if record is not None and record.display is not None else None,
        "link": record.source if record is not None else None,
        "state": judgement.state.value,
        "product": product,
    }
    return msgspec.json.encode(shown)


def _warning(judgement: Judgement, product: str | None, grace_ends: float) -> str:
    text = judgement.state.value
    if judgement.since is not None:
        text += f" since {_day(judgement.since)}"
    if grace_ends < math.inf:
        text += f", calls are refused from {_day(grace_ends)} on"
    return f"{text}; {_remedy(judgement, product)}"


def _remedy(judgement: Judgement, product: str | None) -> str:
    state = judgement.state
    if product is None:
        return "have this key, its team or its tenant assigned to a product"
    if state is State.UNKNOWN:
        return f"have the product's users and revenue attested: {judgement.lacking}"
    if state is State.EXPIRED:
        return "have the product's users and revenue attested anew"
    if state is State.ABOVE_NOT_DISPLAYED:
        return "show the string in the product's user interface, and have evidence of it recorded"
    return "the string must be shown from the threshold on"


def _day(moment: float) -> str:
    return dt.datetime.fromtimestamp(moment, dt.UTC).date().isoformat()
