"""How a product stands to a licence: pure functions of the record, of what was attested, and of the time that they are given."""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import StrEnum
from fractions import Fraction
from typing import Annotated, Literal

from msgspec import Meta, Struct

from policies.attribution.model_licence.products import Attestation, Audience, Evidence, Product, Snapshot
from policies.attribution.model_licence.records import Comparison, LicenceRecord, Quantity, Rule, Threshold


class State(StrEnum):
    """How a product stands to one licence's duty to show something."""

    NOT_APPLICABLE = "not_applicable"
    BELOW = "below"
    NEAR = "near"
    ABOVE_DISPLAYED = "above_displayed"
    ABOVE_NOT_DISPLAYED = "above_not_displayed"
    UNKNOWN = "unknown"
    EXPIRED = "expired"


class Agreement(StrEnum):
    """How a product stands to one licence's rule for models as a service.

    `open` is under the threshold as far as was attested, `unknown` that nothing that counts was attested.
    """

    NOT_APPLICABLE = "not_applicable"
    OPEN = "open"
    UNKNOWN = "unknown"
    NEEDED = "needed"
    ON_FILE = "on_file"


class Reading(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How we read what licences leave open.

    Attributes:
        near_share: of a threshold, from which on a product is near it; looked at to the thousandth.
        internal_products: whether a product for one's own people is free of the duty (`not_applicable`) or counts as any
            other (`count`), where its licence has no exemption for it.
        not_commercial: the same for products that are not commercial.
    """

    near_share: Annotated[float, Meta(ge=0.001, le=1)] = 0.8
    internal_products: Literal["not_applicable", "count"] = "not_applicable"
    not_commercial: Literal["not_applicable", "count"] = "not_applicable"


class Judgement(Struct, frozen=True, kw_only=True):
    """A state, and when it changes.

    Attributes:
        since: when the state began, without a break in between, in seconds since 1970; None if that cannot be told.
        until: when it may be another one although nothing was written down; infinite if never.
        agreement: see `Agreement`.
        lacking: what would have to be attested, where the state is unknown for the lack of it.
    """

    state: State
    since: int | None
    until: float = math.inf
    agreement: Agreement = Agreement.NOT_APPLICABLE
    lacking: str = ""


DEFAULT_READING = Reading()

Exact = int | Fraction
"""A number without rounding; whole where nothing was converted, because that is many times quicker."""


def judge(
    record: LicenceRecord | None,
    product: Product | None,
    snapshot: Snapshot,
    now: float,
    reading: Reading = DEFAULT_READING,
) -> Judgement:
    """How a product (None: a caller who belongs to none) stands to a record (None: none is recorded) at a time.

    `now` is seconds since 1970.
    """
    if record is None:
        return Judgement(state=State.NOT_APPLICABLE, since=None)
    if product is None:
        state = State.NOT_APPLICABLE if record.display is None else State.UNKNOWN
        nothing = Agreement.NOT_APPLICABLE if record.model_as_a_service is None else Agreement.UNKNOWN
        return Judgement(state=state, since=None, agreement=nothing)
    attested = snapshot.attested(product.name, record.id)
    until = min((float(each.valid_until) for each in attested[-1:] if each.valid_until > now), default=math.inf)
    agreement = _agreement(record, product, attested[-1] if attested else None, now)
    if _is_free(record, product, reading):
        return Judgement(state=State.NOT_APPLICABLE, since=product.added_at, until=until, agreement=agreement)
    known = _Known(record, product.added_at, attested, snapshot.shown(product.name, record.id), reading)
    state = known.state(math.inf, now)
    lacking = known.lacking() if state is State.UNKNOWN else ""
    return Judgement(state=state, since=known.since(state, now), until=until, agreement=agreement, lacking=lacking)


def _is_free(record: LicenceRecord, product: Product, reading: Reading) -> bool:
    """Whether the duty does not concern it, whatever its size."""
    if record.display is None or record.exempts(claims(product), Rule.DISPLAY):
        return True
    if product.audience is Audience.INTERNAL and reading.internal_products == "not_applicable":
        return True
    return not product.commercial and reading.not_commercial == "not_applicable"


def claims(product: Product) -> tuple[str, ...]:
    """The exemptions that a product claims; one for one's own people claims that of internal use without saying so."""
    return (*product.exemptions, "internal_use") if product.audience is Audience.INTERNAL else product.exemptions


class _Known(Struct, frozen=True):
    """All that is known of one product under one record with a duty to show something."""

    record: LicenceRecord
    added_at: int
    attested: Sequence[Attestation]
    shown: Sequence[Evidence]
    reading: Reading

    def state(self, heard: float, now: float) -> State:
        """The state at a time, by what was written down until a time."""
        attestation = next((each for each in reversed(self.attested) if each.attested_at <= heard), None)
        if attestation is None or self.record.display is None:
            return State.UNKNOWN
        if now >= attestation.valid_until:
            return State.EXPIRED
        measured = [(each, measure(each, attestation)) for each in self.record.display.thresholds]
        if any(value is not None and passes(each, value) for each, value in measured):
            evidence = next((each for each in reversed(self.shown) if each.given_at <= heard), None)
            shown = evidence is not None and evidence.displayed
            return State.ABOVE_DISPLAYED if shown else State.ABOVE_NOT_DISPLAYED
        # Any one threshold is enough: so all of them must be known before it can be said that none is passed.
        if any(value is None for _, value in measured):
            return State.UNKNOWN
        # In whole numbers, because 0.8 is none.
        share = round(self.reading.near_share * 1_000)
        near = any(value is not None and value * 1_000 >= each.amount * share for each, value in measured)
        return State.NEAR if near else State.BELOW

    def lacking(self) -> str:
        """What the latest attestation does not tell."""
        if not self.attested or self.record.display is None:
            return "nothing is attested"
        last = self.attested[-1]
        missing = [each for each in self.record.display.thresholds if measure(each, last) is None]
        return " and ".join(
            f"{last.currency} is attested without a rate to {each.currency}"
            if each.quantity is Quantity.MONTHLY_REVENUE and last.monthly_revenue is not None
            else f"{each.quantity.value} is not attested"
            for each in missing
        )

    def since(self, state: State, now: float) -> int:
        """When it began: back from now over the moments at which it may have changed, until it was another."""
        moments = {self.added_at, *(each.given_at for each in self.shown)}
        moments.update(moment for each in self.attested for moment in (each.attested_at, each.valid_until))
        # Another node's clock may be ahead of ours: what it wrote down holds already, from now on.
        began = int(now)
        for moment in sorted((moment for moment in moments if moment <= now), reverse=True):
            if self.state(moment, moment) is not state:
                break
            began = moment
        return began


def measure(threshold: Threshold, attestation: Attestation) -> Exact | None:
    """What was attested of the threshold's quantity, in its currency; None if that cannot be told."""
    if threshold.quantity is Quantity.MONTHLY_ACTIVE_USERS:
        return attestation.monthly_active_users
    return _money(attestation.monthly_revenue, threshold.currency, attestation)


def passes(threshold: Threshold, value: Exact) -> bool:
    """Whether it is so much that the duty holds: of 100 million, "more than" is free of it, "at" is not."""
    return value > threshold.amount if threshold.comparison is Comparison.OVER else value >= threshold.amount


def _money(amount: int | None, currency: str | None, attestation: Attestation) -> Exact | None:
    if amount is None or attestation.currency == currency:
        return amount
    if attestation.rate is not None and attestation.rate_currency == currency:
        return amount * Fraction(attestation.rate)
    return None


def _agreement(record: LicenceRecord, product: Product, attestation: Attestation | None, now: float) -> Agreement:
    rule = record.model_as_a_service
    if (
        rule is None
        or product.audience is Audience.INTERNAL
        or record.exempts(claims(product), Rule.MODEL_AS_A_SERVICE)
    ):
        return Agreement.NOT_APPLICABLE
    if product.agreements.get(record.id):
        return Agreement.ON_FILE
    if attestation is None or now >= attestation.valid_until:
        return Agreement.UNKNOWN
    revenue = _money(attestation.aggregate_revenue, rule.currency, attestation)
    if revenue is None:
        return Agreement.UNKNOWN
    over = revenue > rule.amount if rule.comparison is Comparison.OVER else revenue >= rule.amount
    return Agreement.NEEDED if over else Agreement.OPEN
