"""How a product stands to a licence: by numbers, currencies, dates, evidence, audiences and exemptions."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.attribution.model_licence.products import (
    Attestation,
    Audience,
    Evidence,
    EvidenceKind,
    Product,
    Snapshot,
)
from policies.attribution.model_licence.record_files import load
from policies.attribution.model_licence.records import Comparison
from policies.attribution.model_licence.states import Agreement, Judgement, Reading, State, judge

RECORDS = load()
NOW = 1_000_000
DAY = 86_400
SHOP = Product(name="shop", owner="Ann", added_at=NOW - 10 * DAY)


def said(users: int | None = 5, revenue: int | None = 5, **changes: Any) -> Attestation:
    fields: dict[str, Any] = {
        "product": "shop",
        "monthly_active_users": users,
        "monthly_revenue": revenue,
        "as_of": dt.date(2026, 11, 1),
        "attested_by": "Ann",
        "attested_at": NOW - DAY,
        "valid_until": NOW + DAY,
    }
    return Attestation(**{**fields, **changes})


def proof(**changes: Any) -> Evidence:
    fields: dict[str, Any] = {
        "product": "shop",
        "licence": "kimi-k2",
        "kind": EvidenceKind.NOTE,
        "value": "footer",
        "given_by": "Ann",
        "given_at": NOW - 5,
    }
    return Evidence(**{**fields, **changes})


def judged(
    *attested: Attestation,
    shown: tuple[Evidence, ...] = (),
    product: Product = SHOP,
    licence: str = "kimi-k2",
    now: float = NOW,
    reading: Reading | None = None,
) -> Judgement:
    snapshot = Snapshot(products={"shop": product}, attestations={"shop": attested}, evidence={"shop": shown})
    return judge(RECORDS[licence], product, snapshot, now, reading or Reading())


@pytest.mark.parametrize(
    ("attestation", "state"),
    [
        (said(), State.BELOW),
        (said(users=79_999_999), State.BELOW),
        (said(users=80_000_000), State.NEAR),
        (said(users=100_000_000), State.NEAR),
        (said(users=100_000_001), State.ABOVE_NOT_DISPLAYED),
        (said(revenue=15_999_999), State.BELOW),
        (said(revenue=16_000_000), State.NEAR),
        (said(revenue=20_000_000), State.NEAR),
        (said(revenue=20_000_001), State.ABOVE_NOT_DISPLAYED),
        (said(users=None), State.UNKNOWN),
        (said(revenue=None), State.UNKNOWN),
        (said(users=None, revenue=20_000_001), State.ABOVE_NOT_DISPLAYED),  # one of the two is enough
        (said(users=100_000_001, revenue=None), State.ABOVE_NOT_DISPLAYED),
        (said(users=90_000_000, revenue=None), State.UNKNOWN),
        (said(revenue=1, currency="EUR"), State.UNKNOWN),
        (said(users=100_000_001, currency="EUR"), State.ABOVE_NOT_DISPLAYED),
        (said(revenue=1, currency="EUR", rate=Decimal("1.1"), rate_currency="CHF"), State.UNKNOWN),
        (said(revenue=14_545_454, currency="EUR", rate=Decimal("1.1"), rate_currency="USD"), State.BELOW),
        (said(revenue=14_545_455, currency="EUR", rate=Decimal("1.1"), rate_currency="USD"), State.NEAR),
        (said(revenue=18_181_819, currency="EUR", rate=Decimal("1.1"), rate_currency="USD"), State.ABOVE_NOT_DISPLAYED),
        (said(valid_until=NOW), State.EXPIRED),
        (said(users=100_000_001, valid_until=NOW), State.EXPIRED),
        (said(valid_until=NOW + 1), State.BELOW),
        (said(licence="kimi-k2.5"), State.UNKNOWN),
        (said(licence="kimi-k2"), State.BELOW),
    ],
)
def test_by_what_was_attested(attestation: Attestation, state: State) -> None:
    assert judged(attestation).state is state


@pytest.mark.parametrize(
    ("attested", "lacking"),
    [
        ((), "nothing is attested"),
        ((said(users=None),), "monthly_active_users is not attested"),
        ((said(revenue=None),), "monthly_revenue is not attested"),
        ((said(revenue=1, currency="EUR"),), "EUR is attested without a rate to USD"),
        ((said(users=None, revenue=None),), "monthly_active_users is not attested and monthly_revenue is not attested"),
        ((said(),), ""),
    ],
)
def test_what_is_lacking_is_said(attested: tuple[Attestation, ...], lacking: str) -> None:
    assert judged(*attested).lacking == lacking


@pytest.mark.parametrize("licence", ["kimi-k2", "kimi-k2-thinking", "kimi-k2.5", "kimi-k2.6", "kimi-k3"])
def test_exactly_a_hundred_million_users_is_not_over_in_any_of_them(licence: str) -> None:
    assert judged(said(users=100_000_000), licence=licence).state is State.NEAR
    assert judged(said(users=100_000_001), licence=licence).state is State.ABOVE_NOT_DISPLAYED


def test_a_licence_may_mean_at() -> None:
    record = RECORDS["kimi-k2"]
    assert record.display is not None
    thresholds = tuple(msgspec.structs.replace(each, comparison=Comparison.AT) for each in record.display.thresholds)
    at = msgspec.structs.replace(record, display=msgspec.structs.replace(record.display, thresholds=thresholds))
    snapshot = Snapshot(products={"shop": SHOP}, attestations={"shop": (said(users=100_000_000),)})
    assert judge(at, SHOP, snapshot, NOW).state is State.ABOVE_NOT_DISPLAYED


@pytest.mark.parametrize("licence", ["mit", "apache-2.0"])
def test_a_licence_without_a_display_does_not_apply(licence: str) -> None:
    assert judged(said(users=10**9), licence=licence).state is State.NOT_APPLICABLE
    assert judge(RECORDS[licence], None, Snapshot(), NOW).state is State.NOT_APPLICABLE


def test_no_licence_no_product_no_attestation() -> None:
    assert judge(None, SHOP, Snapshot(), NOW).state is State.NOT_APPLICABLE
    assert judge(RECORDS["kimi-k2"], None, Snapshot(), NOW).state is State.UNKNOWN
    assert judged().state is State.UNKNOWN


@pytest.mark.parametrize(
    ("product", "licence", "reading", "state"),
    [
        (Product(name="shop", owner="Ann", audience=Audience.INTERNAL), "kimi-k2", Reading(), State.NOT_APPLICABLE),
        (
            Product(name="shop", owner="Ann", audience=Audience.INTERNAL),
            "kimi-k2",
            Reading(internal_products="count"),
            State.ABOVE_NOT_DISPLAYED,
        ),
        (  # K3 itself exempts internal use, whatever our reading
            Product(name="shop", owner="Ann", audience=Audience.INTERNAL),
            "kimi-k3",
            Reading(internal_products="count"),
            State.NOT_APPLICABLE,
        ),
        (Product(name="shop", owner="Ann", commercial=False), "kimi-k2", Reading(), State.NOT_APPLICABLE),
        (
            Product(name="shop", owner="Ann", commercial=False),
            "kimi-k2",
            Reading(not_commercial="count"),
            State.ABOVE_NOT_DISPLAYED,
        ),
        (
            Product(name="shop", owner="Ann", exemptions=("certified_partner",)),
            "kimi-k3",
            Reading(),
            State.NOT_APPLICABLE,
        ),
        (
            Product(name="shop", owner="Ann", exemptions=("certified_partner",)),
            "kimi-k2",
            Reading(),
            State.ABOVE_NOT_DISPLAYED,
        ),
    ],
)
def test_whom_it_does_not_concern(product: Product, licence: str, reading: Reading, state: State) -> None:
    assert judged(said(users=10**9), product=product, licence=licence, reading=reading).state is state


def test_the_latest_word_counts_whether_for_one_licence_or_for_all() -> None:
    one, all_ = said(users=10**9, licence="kimi-k2"), said()
    assert judged(one, all_).state is State.BELOW
    assert judged(all_, one).state is State.ABOVE_NOT_DISPLAYED
    assert judged(all_, one, licence="kimi-k2.5").state is State.BELOW


def test_the_latest_evidence_counts_and_only_for_its_licence() -> None:
    over = said(users=10**9)
    assert judged(over, shown=(proof(),)).state is State.ABOVE_DISPLAYED
    assert judged(over, shown=(proof(), proof(displayed=False))).state is State.ABOVE_NOT_DISPLAYED
    assert judged(over, shown=(proof(licence="kimi-k2.5"),)).state is State.ABOVE_NOT_DISPLAYED
    assert judged(said(), shown=(proof(),)).state is State.BELOW


def test_since_when_is_the_beginning_of_what_was_so_without_a_break() -> None:
    monthly = [
        said(users=10**9, attested_at=NOW - days * DAY, valid_until=NOW - (days - 2) * DAY) for days in (9, 7, 5, 3, 1)
    ]
    assert judged(*monthly).since == NOW - 9 * DAY
    below = said(attested_at=NOW - 4 * DAY, valid_until=NOW)
    assert judged(*monthly[:3], below, *monthly[3:]).since == NOW - 3 * DAY
    assert judged(*monthly[:3], *monthly[4:]).since == NOW - 1 * DAY  # it had expired in between
    taken_back = (proof(given_at=NOW - 8 * DAY), proof(given_at=NOW - 2 * DAY, displayed=False))
    assert judged(*monthly, shown=taken_back).since == NOW - 2 * DAY


def test_since_when_nothing_is_known_or_nothing_any_more() -> None:
    assert judged().since == SHOP.added_at
    assert judged(said(valid_until=NOW - 100)).since == NOW - 100
    assert judge(RECORDS["kimi-k2"], None, Snapshot(), NOW).since is None


def test_what_another_node_wrote_with_a_clock_ahead_holds_already() -> None:
    judgement = judged(said(users=10**9, attested_at=NOW + 3))
    assert (judgement.state, judgement.since) == (State.ABOVE_NOT_DISPLAYED, NOW)


def test_until_when_is_the_end_of_what_was_attested() -> None:
    assert judged(said()).until == NOW + DAY
    assert judged(said(), now=NOW + DAY).until == float("inf")


@pytest.mark.parametrize(
    ("attestation", "product", "agreement"),
    [
        (said(), SHOP, Agreement.UNKNOWN),
        (said(aggregate_revenue=20_000_000), SHOP, Agreement.OPEN),
        (said(aggregate_revenue=20_000_001), SHOP, Agreement.NEEDED),
        (said(aggregate_revenue=20_000_001, currency="EUR"), SHOP, Agreement.UNKNOWN),
        (said(aggregate_revenue=20_000_001, valid_until=NOW), SHOP, Agreement.UNKNOWN),
        (said(), Product(name="shop", owner="Ann", agreements={"kimi-k3": "A-1"}), Agreement.ON_FILE),
        (said(), Product(name="shop", owner="Ann", agreements={"kimi-k2": "A-1"}), Agreement.UNKNOWN),
        (said(), Product(name="shop", owner="Ann", audience=Audience.INTERNAL), Agreement.NOT_APPLICABLE),
        (said(), Product(name="shop", owner="Ann", exemptions=("certified_partner",)), Agreement.NOT_APPLICABLE),
    ],
)
def test_the_rule_for_models_as_a_service(attestation: Attestation, product: Product, agreement: Agreement) -> None:
    assert judged(attestation, product=product, licence="kimi-k3").agreement is agreement
    assert judged(attestation, product=product, licence="kimi-k2").agreement is Agreement.NOT_APPLICABLE


@given(
    users=st.none() | st.integers(0, 3 * 10**8),
    revenue=st.none() | st.integers(0, 6 * 10**7),
    shown=st.booleans(),
    left=st.integers(-1, 1),
)
def test_against_the_words_of_the_licence(users: int | None, revenue: int | None, shown: bool, left: int) -> None:
    found = judged(said(users, revenue, valid_until=NOW + left), shown=(proof(displayed=shown),)).state
    over = (users or 0) > 100_000_000 or (revenue or 0) > 20_000_000
    if left <= 0:
        expected = State.EXPIRED
    elif over:
        expected = State.ABOVE_DISPLAYED if shown else State.ABOVE_NOT_DISPLAYED
    elif users is None or revenue is None:
        expected = State.UNKNOWN
    else:
        expected = State.NEAR if users >= 80_000_000 or revenue >= 16_000_000 else State.BELOW
    assert found is expected
