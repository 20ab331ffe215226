"""What a licence asks for, as data: one record a licence; reading files is `record_files`' work, judging is `states`'."""

from __future__ import annotations

import datetime as dt
import hashlib
from enum import StrEnum
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

NONE_RECORDED = "none-recorded"
"""What a checkpoint says whose owner knows of no licence and means it."""

CURRENCIES = frozenset(
    """
    AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD
    CAD CDF CHF CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD
    GNF GTQ GYD HKD HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT
    LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR
    NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP
    STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD UYU UZS VED VES VND VUV WST XAF XCD
    XCG XOF XPF YER ZAR ZMW ZWG
    """.split()  # noqa: SIM905 - a list of them would be two hundred lines
)
"""The currencies of ISO 4217 that are in use, so that a slip in a code is found before it is compared with."""

RecordId = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
CheckpointId = Annotated[str, Meta(min_length=1, max_length=300)]
# It goes into a header as it is, and into one line of the ledger: plain characters, and no semicolon.
Shown = Annotated[str, Meta(pattern=r"^[!-:<-~]([ -:<-~]{0,98}[!-:<-~])?$")]
Address = Annotated[str, Meta(pattern=r"^https?://[!-;=?-~]{1,500}$")]
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
Words = Annotated[str, Meta(min_length=1, max_length=4_000)]
WholeAmount = Annotated[int, Meta(ge=1, le=10**15)]


class Quantity(StrEnum):
    """What of a product is measured."""

    MONTHLY_ACTIVE_USERS = "monthly_active_users"
    MONTHLY_REVENUE = "monthly_revenue"


class Comparison(StrEnum):
    """Whether the amount itself is still free of the duty (`over`: more than) or not any more (`at`: or more)."""

    OVER = "over"
    AT = "at"


class Rule(StrEnum):
    """The parts of a licence from which an exemption may be."""

    DISPLAY = "display"
    MODEL_AS_A_SERVICE = "model_as_a_service"


class Threshold(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An amount of something; passing any one of a licence's thresholds is enough.

    Attributes:
        amount: people, or whole units of `currency`.
    """

    quantity: Quantity
    amount: WholeAmount
    currency: str | None = None
    comparison: Comparison

    def __post_init__(self) -> None:
        """Check the currency.

        Raises:
            ValueError: money without a currency, people with one, or a currency that is none.
        """
        if self.quantity is Quantity.MONTHLY_REVENUE:
            check_currency(self.currency)
        elif self.currency is not None:
            raise ValueError(f"{self.quantity.value} has no currency")


class Display(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The duty to show something.

    Attributes:
        string: what must be shown, to the letter.
        verified: the string was read in the licence itself.
        of: whose numbers count; where it must be shown.
        thresholds: above any of them, it must be shown.
    """

    string: Shown
    verified: bool
    of: Literal["product"] = "product"
    where: Words
    thresholds: tuple[Threshold, ...]

    def __post_init__(self) -> None:
        """Check that it says from when on.

        Raises:
            ValueError: there is no threshold, or two for one quantity.
        """
        if not self.thresholds:
            raise ValueError("a display needs a threshold, from which on it is asked for")
        if len({each.quantity for each in self.thresholds}) < len(self.thresholds):
            raise ValueError("two thresholds are for one quantity")

    def threshold(self, quantity: Quantity) -> Threshold | None:
        """The one for a quantity, if there is one."""
        return next((each for each in self.thresholds if each.quantity is quantity), None)


class ServiceRule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is asked of those who give others access to the model itself (model as a service).

    Attributes:
        months: over how many in a row the revenue is added up.
        amount: whole units of `currency`, all affiliates' revenue together where `affiliates` is set.
        needs: what they need then, in our words.
    """

    months: Annotated[int, Meta(ge=1, le=120)]
    amount: WholeAmount
    currency: str
    comparison: Comparison
    affiliates: bool
    needs: Words

    def __post_init__(self) -> None:
        """Check the currency.

        Raises:
            ValueError: it is none.
        """
        check_currency(self.currency)


class Exemption(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who need not do what; a product claims it by its id."""

    id: RecordId
    of: Annotated[tuple[Rule, ...], Meta(min_length=1)]
    text: Words


class CoveredModel(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A checkpoint under the licence; `derived_from` is the one that it was made of."""

    id: CheckpointId
    derived_from: CheckpointId | None = None


class LicenceRecord(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One licence.

    Attributes:
        spdx: its SPDX id, or `LicenseRef-` and a name.
        models: the checkpoints that are known to be under it.
        source: where its text stands.
        text_sha256: of the text that this record was written from, where it was kept.
        text_file: that text, in the same folder; its digest is compared with `text_sha256`.
        verified: all that matters here was read in the licence itself.
        derivatives: whether what is made from the weights is under it as well.
        display: what must be shown; None if nothing must.
        notice: what must go along with copies of the weights.
        effective_from, effective_until: the days between which it is known to hold, if it is known.
        summary: what it asks for, in our words.
        notes: what is ambiguous, and how we read it.
    """

    id: RecordId
    title: Words
    spdx: Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9.+-]{0,127}$")]
    models: tuple[CoveredModel, ...] = ()
    source: Address | None = None
    text_sha256: Sha256 | None = None
    text_file: str | None = None
    verified: bool
    derivatives: Literal["inherit", "free"]
    display: Display | None = None
    notice: Words | None = None
    model_as_a_service: ServiceRule | None = None
    exemptions: tuple[Exemption, ...] = ()
    effective_from: dt.date | None = None
    effective_until: dt.date | None = None
    summary: Words
    notes: Words | None = None

    def __post_init__(self) -> None:
        """Check what concerns several fields.

        Raises:
            ValueError: the id is taken, an exemption is from nothing, a text has no digest, or the dates are turned round.
        """
        if self.id == NONE_RECORDED:
            raise ValueError(f"the id {NONE_RECORDED} means that there is no record")
        for exemption in self.exemptions:
            for rule in exemption.of:
                if getattr(self, rule.value) is None:
                    raise ValueError(f"exemption {exemption.id} is from {rule.value}, and there is none")
        if self.text_file is not None and self.text_sha256 is None:
            raise ValueError("text_file needs text_sha256, with which it is compared")
        if self.effective_from and self.effective_until and self.effective_until < self.effective_from:
            raise ValueError("effective_until is before effective_from")

    @property
    def digest(self) -> str:
        """SHA-256 in hex of all that the record says: what an auditor compares with the ledger."""
        return hashlib.sha256(msgspec.json.encode(self, order="deterministic")).hexdigest()

    def exempts(self, claimed: tuple[str, ...], rule: Rule) -> bool:
        """Whether one of the exemptions that a product claims is from this rule."""
        return any(each.id in claimed and rule in each.of for each in self.exemptions)

    def doubts(self, today: dt.date) -> list[str]:
        """Why whoever runs the gateway should look at the licence again; a line each."""
        found = []
        if not self.verified:
            found.append("it was not read in the licence itself")
        if self.display is not None and not self.display.verified:
            found.append(f"that {self.display.string!r} must be shown was not read in the licence itself")
        if self.effective_from is not None and today < self.effective_from:
            found.append(f"it does not hold before {self.effective_from}")
        if self.effective_until is not None and today > self.effective_until:
            found.append(f"it held until {self.effective_until}")
        return found


def check_currency(code: str | None) -> None:
    """See whether a currency is one.

    Raises:
        ValueError: it is missing, or not in ISO 4217.
    """
    if code is None:
        raise ValueError("money needs a currency")
    if code not in CURRENCIES:
        raise ValueError(f"{code!r} is no currency of ISO 4217")
