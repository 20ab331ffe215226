"""Products and what is said of them: what is kept, what is refused, and that each change is a row of the history."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.database import SqlDatabase
from gateway.errors import ClientError, InvalidRequest
from policies.attribution.model_licence import tables
from policies.attribution.model_licence.directory import Directory
from policies.attribution.model_licence.failures import Conflict, DatabaseUnavailable, NotFound
from policies.attribution.model_licence.products import Audience, Product
from policies.attribution.model_licence.telling import Member
from policies.attribution.model_licence.verifying import verify
from tests.unit.policies.attribution.model_licence.shop import (
    ACTOR,
    NOW,
    Clock,
    members,
    new,
    patch,
    proof,
    size,
)

KEY = {"key": "1a2b"}
TEAM = {"tenant": "acme", "team": "web/shop"}
TENANT = {"tenant": "acme"}


async def actions(engine: AsyncEngine) -> list[tuple[str, str, str]]:
    columns = tables.history.c
    async with engine.connect() as connection:
        query = select(columns.action, columns.subject, columns.actor).order_by(columns.sequence)
        return [tuple(row) for row in (await connection.execute(query)).all()]


async def test_a_product_is_kept_as_it_was_added(directory: Directory, engine: AsyncEngine) -> None:
    said = {"url": "https://shop.example", "exemptions": ["certified_partner"], "agreements": {"kimi-k2": "A-17"}}
    made = await directory.add(ACTOR, new(**said))
    assert made == Product(
        name="shop",
        owner="Shop team",
        url="https://shop.example",
        exemptions=("certified_partner",),
        agreements={"kimi-k2": "A-17"},
        added_at=NOW,
    )
    assert await Directory(engine).product("shop") == made
    assert await actions(engine) == [("product.add", "product:shop", ACTOR)]


async def test_the_same_again_writes_nothing(directory: Directory, engine: AsyncEngine, clock: Clock) -> None:
    async def say() -> list[Any]:
        return [
            await directory.add(ACTOR, new()),
            await directory.change(ACTOR, "shop", patch(url="https://shop.example")),
            await directory.attest(
                ACTOR, "shop", size(monthly_revenue=5, currency="EUR", rate="1.10", rate_currency="USD")
            ),
            await directory.show(ACTOR, "shop", proof()),
        ]

    await directory.add(ACTOR, new())
    await directory.assign(ACTOR, "shop", members(KEY, TEAM))
    first = (await say())[1:]
    rows = await actions(engine)
    clock.now += 60
    assert await directory.assign(ACTOR, "shop", members(KEY, TEAM)) == ()
    assert await directory.change(ACTOR, "shop", patch(url="https://shop.example")) == first[0]
    assert (
        await directory.attest(ACTOR, "shop", size(monthly_revenue=5, currency="EUR", rate="1.1", rate_currency="USD"))
    ) == first[1]
    assert await directory.show(ACTOR, "shop", proof()) == first[2]
    assert await actions(engine) == rows
    assert len(rows) == 6


async def test_another_product_of_that_name_is_refused(directory: Directory) -> None:
    await directory.add(ACTOR, new())
    with pytest.raises(Conflict, match="already, and it is another"):
        await directory.add(ACTOR, new(audience="internal"))


async def test_a_change_leaves_what_it_does_not_name(directory: Directory, engine: AsyncEngine, clock: Clock) -> None:
    before = await directory.add(ACTOR, new(url="https://shop.example"))
    clock.now += 60
    after = await directory.change("another", "shop", patch(audience="internal", url=None))
    assert (after.audience, after.url, after.owner, after.added_at) == (Audience.INTERNAL, None, before.owner, NOW)
    assert (await directory.snapshot()).products == {"shop": after}
    assert (await actions(engine))[1] == ("product.change", "product:shop", "another")


async def test_callers_belong_to_a_product_by_key_team_or_tenant(directory: Directory) -> None:
    for name in ("shop", "search", "all"):
        await directory.add(ACTOR, new(name))
    await directory.assign(ACTOR, "shop", members(KEY))
    await directory.assign(ACTOR, "search", members(TEAM))
    await directory.assign(ACTOR, "all", members(TENANT))
    snapshot = await directory.snapshot()
    assert snapshot.product_of("1a2b", "acme", "web/shop") == "shop"
    assert snapshot.product_of("other", "acme", "web/shop") == "search"
    assert snapshot.product_of("other", "acme", "web") == snapshot.product_of("other", "acme", None) == "all"
    assert snapshot.product_of("other", "else", None) is None


async def test_a_caller_moves_only_when_that_is_said(directory: Directory, engine: AsyncEngine) -> None:
    await directory.add(ACTOR, new())
    await directory.add(ACTOR, new("search"))
    await directory.assign(ACTOR, "shop", members(KEY))
    with pytest.raises(Conflict, match="key:1a2b belongs to the product 'shop'"):
        await directory.assign(ACTOR, "search", members(TEAM, KEY))
    assert (await directory.snapshot()).of_teams == {}, "all of them or none"
    assert await directory.assign(ACTOR, "search", members(KEY, move=True)) == (Member(key="1a2b"),)
    assert (await directory.snapshot()).of_keys == {"1a2b": "search"}
    assert [row[:2] for row in (await actions(engine))[-2:]] == [("unassign", "key:1a2b"), ("assign", "key:1a2b")]


async def test_a_caller_leaves_a_product(directory: Directory) -> None:
    await directory.add(ACTOR, new())
    await directory.assign(ACTOR, "shop", members(KEY, TEAM, TENANT))
    await directory.assign(ACTOR, "shop", members(KEY, TENANT, {"key": "unknown"}, remove=True))
    snapshot = await directory.snapshot()
    assert (snapshot.of_keys, snapshot.of_teams) == ({}, {("acme", "web/shop"): "shop"})


async def test_an_attestation_is_kept_with_all_that_it_says(
    directory: Directory, engine: AsyncEngine, clock: Clock
) -> None:
    await directory.add(ACTOR, new())
    first = await directory.attest(
        ACTOR,
        "shop",
        size(
            monthly_active_users=100_000_000,
            monthly_revenue=7,
            currency="EUR",
            rate="1.0837",
            rate_currency="USD",
            valid_until="2026-12-31",
        ),
    )
    clock.now += 60
    second = await directory.attest(ACTOR, "shop", size(licence="kimi-k2", monthly_active_users=1, attested_by=None))
    assert (first.valid_until, second.attested_by) == (1_798_761_600, ACTOR)  # 2027-01-01 00:00 UTC
    assert second.valid_until == 1_801_526_400  # 2027-02-02, after the 92nd day
    snapshot = await Directory(engine).snapshot()
    assert snapshot.attested("shop", "kimi-k2") == (first, second)
    assert snapshot.attested("shop", "kimi-k2.5") == (first,)


async def test_evidence_is_kept_and_a_machine_s_is_kept_each_time(directory: Directory) -> None:
    await directory.add(ACTOR, new())
    looked = {"kind": "machine_check", "digest": "a" * 64}
    given = [await directory.show(ACTOR, "shop", proof(**looked)) for _ in range(2)]
    given.append(await directory.show(ACTOR, "shop", proof(kind="screenshot", value="b" * 64, displayed=False)))
    assert (await directory.snapshot()).shown("shop", "kimi-k2") == tuple(given)
    assert [each.string for each in given] == ["Kimi K2"] * 3


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"currency": "USD"}, "neither users nor revenue"),
        ({"monthly_active_users": 1, "as_of": "2026-11-20"}, "a day to come"),
        ({"monthly_active_users": 1, "valid_until": "2026-11-17"}, "would not hold any more"),
        ({"monthly_active_users": 1, "valid_until": NOW}, "would not hold any more"),
        ({"monthly_active_users": 1, "as_of": "2025-11-01"}, "would not hold any more"),
        ({"monthly_active_users": 1, "valid_until": "2028-11-01"}, "more than 400 days"),
        ({"monthly_revenue": 1, "currency": "XYZ"}, "'XYZ' is no currency"),
        ({"monthly_revenue": 1, "rate": "1.1", "rate_currency": "USX"}, "no currency"),
        ({"monthly_revenue": 1, "rate": "1.1"}, "a rate needs the currency"),
        ({"monthly_revenue": 1, "rate": "0", "rate_currency": "USD"}, "above zero"),
    ],
)
async def test_an_attestation_that_does_not_hold_is_refused(
    directory: Directory, said: dict[str, Any], reason: str
) -> None:
    await directory.add(ACTOR, new())
    with pytest.raises(InvalidRequest, match=reason):
        await directory.attest(ACTOR, "shop", size(**said))
    assert (await directory.snapshot()).attestations == {}


async def test_a_day_that_has_begun_elsewhere_is_none_to_come(directory: Directory, clock: Clock) -> None:
    await directory.add(ACTOR, new())
    tomorrow = dt.datetime.fromtimestamp(clock.now, dt.UTC).date() + dt.timedelta(days=1)
    attestation = await directory.attest(ACTOR, "shop", size(monthly_active_users=1, as_of=tomorrow.isoformat()))
    assert attestation.as_of == tomorrow


@pytest.mark.parametrize(
    ("kind", "value"), [("screenshot", "a picture"), ("url", "the page"), ("machine_check", "file:///x")]
)
async def test_evidence_of_no_kind_is_refused(directory: Directory, kind: str, value: str) -> None:
    await directory.add(ACTOR, new())
    with pytest.raises(InvalidRequest, match="value"):
        await directory.show(ACTOR, "shop", proof(kind=kind, value=value))


async def test_what_is_not_there_is_said(directory: Directory, engine: AsyncEngine) -> None:
    await directory.add(ACTOR, new())
    rows = await actions(engine)
    for work, hint in (
        (directory.product("shpo"), "Did you mean 'shop'"),
        (directory.change(ACTOR, "none", patch(owner="x")), "no product 'none'"),
        (directory.assign(ACTOR, "none", members(KEY)), "no product 'none'"),
        (directory.attest(ACTOR, "none", size()), "no product 'none'"),
        (
            directory.attest(ACTOR, "shop", size(licence="kimi-k3.5", monthly_active_users=1)),
            "Did you mean 'kimi-k2.5'",
        ),
        (directory.show(ACTOR, "shop", proof(licence="gpl")), "no licence record 'gpl'"),
        (directory.add(ACTOR, new("x", agreements={"kimi-k22": "A"})), "Did you mean 'kimi-k2'"),
    ):
        with pytest.raises(NotFound, match=hint):
            await work
    assert await actions(engine) == rows


@pytest.mark.parametrize("wrong", [{}, {"team": "a"}, {"key": "a", "tenant": "b"}, {"key": "a", "team": "b"}])
async def test_a_member_that_is_none_is_refused(directory: Directory, wrong: dict[str, str]) -> None:
    await directory.add(ACTOR, new())
    with pytest.raises(ClientError, match=r"members\[1\]"):
        await directory.assign(ACTOR, "shop", members(KEY, wrong))


async def test_all_of_it_is_one_chain(directory: Directory, engine: AsyncEngine) -> None:
    await directory.add(ACTOR, new())
    await directory.assign(ACTOR, "shop", members(KEY, TEAM))
    await directory.attest(ACTOR, "shop", size())
    await directory.show(ACTOR, "shop", proof())
    verdict = await verify(engine)
    assert (verdict.intact, verdict.rows) == (True, 5)


async def test_a_database_that_is_away_says_so(postgres_database: Any, clock: Clock) -> None:
    database = SqlDatabase(postgres_database.url)
    await database.prepare([tables.schema], upgrade=True)
    try:
        directory = Directory(database.engine, clock=clock)
        await directory.add(ACTOR, new())
        postgres_database.refuse()
        with pytest.raises(DatabaseUnavailable):
            await directory.attest(ACTOR, "shop", size())
        postgres_database.accept()
        assert (await directory.snapshot()).attestations == {}
    finally:
        await database.aclose()
