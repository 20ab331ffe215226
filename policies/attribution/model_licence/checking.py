"""What must fit together in what is said of products, beyond types; every fault names its field."""

from __future__ import annotations

import datetime as dt
import re

import msgspec

from gateway.errors import InvalidRequest
from policies.attribution.model_licence.products import Attestation, Evidence, EvidenceKind, Seconds
from policies.attribution.model_licence.records import CURRENCIES
from policies.attribution.model_licence.telling import Member
from policies.attribution.model_licence.wanted import Address, NewAttestation, NewEvidence, NewMember

DAY_SECONDS = 86_400
VALID_DAYS = 92
MOST_VALID_DAYS = 400

_SHA256 = re.compile(r"[0-9a-f]{64}")


def member_of(wanted: NewMember, index: int) -> Member:
    """Who is meant.

    Raises:
        InvalidRequest: nobody, or two at once.
    """
    if (wanted.key is None) == (wanted.tenant is None) or (wanted.team is not None and wanted.tenant is None):
        raise InvalidRequest(
            f"members[{index}]: it must be a key, a tenant, or a team with its tenant.", param=f"members[{index}]"
        )
    return Member(key=wanted.key, tenant=wanted.tenant, team=wanted.team)


def attestation_of(wanted: NewAttestation, product: str, actor: str, now: Seconds) -> Attestation:
    """What is written down of an attestation.

    Raises:
        InvalidRequest: it says nothing, is of a day to come, does not hold now or holds too long; a currency or rate is wrong.
    """
    numbers = (wanted.monthly_active_users, wanted.monthly_revenue, wanted.aggregate_revenue)
    if all(number is None for number in numbers):
        raise _wrong("monthly_active_users", "it says neither users nor revenue")
    # A day begins up to 14 hours earlier elsewhere than in UTC.
    if _midnight(wanted.as_of) > now + 14 * 3_600:
        raise _wrong("as_of", f"{wanted.as_of} is a day to come")
    for field, code in (("currency", wanted.currency), ("rate_currency", wanted.rate_currency)):
        if code is not None and code not in CURRENCIES:
            raise _wrong(field, f"{code!r} is no currency of ISO 4217")
    valid_until = _valid_until(wanted)
    if valid_until <= now:
        raise _wrong("valid_until", "it would not hold any more")
    if valid_until > now + MOST_VALID_DAYS * DAY_SECONDS:
        raise _wrong("valid_until", f"it would hold for more than {MOST_VALID_DAYS} days")
    try:
        return Attestation(
            product=product,
            licence=wanted.licence,
            monthly_active_users=wanted.monthly_active_users,
            monthly_revenue=wanted.monthly_revenue,
            aggregate_revenue=wanted.aggregate_revenue,
            currency=wanted.currency,
            rate=wanted.rate,
            rate_currency=wanted.rate_currency,
            as_of=wanted.as_of,
            attested_by=wanted.attested_by or actor,
            attested_at=now,
            valid_until=valid_until,
        )
    except ValueError as error:
        raise _wrong("rate", str(error)) from error


def evidence_of(wanted: NewEvidence, product: str, actor: str, now: Seconds, string: str) -> Evidence:
    """What is written down of evidence; `string` is what the licence wants to be shown, where it does not say it itself.

    Raises:
        InvalidRequest: its value is none of its kind.
    """
    if wanted.kind is EvidenceKind.SCREENSHOT and not _SHA256.fullmatch(wanted.value):
        raise _wrong("value", "a screenshot is given by its SHA-256: 64 hex digits")
    if wanted.kind in (EvidenceKind.URL, EvidenceKind.MACHINE_CHECK):
        try:
            msgspec.convert(wanted.value, Address)
        except msgspec.ValidationError:
            raise _wrong("value", "it must be an http or https address") from None
    return Evidence(
        product=product,
        licence=wanted.licence,
        kind=wanted.kind,
        value=wanted.value,
        displayed=wanted.displayed,
        string=wanted.string or string,
        digest=wanted.digest,
        given_by=actor,
        given_at=now,
    )


def _valid_until(wanted: NewAttestation) -> Seconds:
    if isinstance(wanted.valid_until, int):
        return wanted.valid_until
    last = wanted.valid_until or wanted.as_of + dt.timedelta(days=VALID_DAYS)
    return _midnight(last) + DAY_SECONDS


def _midnight(day: dt.date) -> Seconds:
    """When a day begins, in UTC."""
    return int(dt.datetime(day.year, day.month, day.day, tzinfo=dt.UTC).timestamp())


def _wrong(field: str, text: str) -> InvalidRequest:
    return InvalidRequest(f"{field}: {text}.", param=field)
