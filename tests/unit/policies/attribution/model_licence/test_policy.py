"""The policy on a call's way: whose product, which headers, which refusals, which words for the ledger; and when they change."""

from __future__ import annotations

import itertools
import json

import pytest

from gateway import Call
from gateway.errors import Rejected
from policies.attribution.model_licence.emitted import parse
from policies.attribution.model_licence.policy import ModelLicence
from policies.attribution.model_licence.products import Audience, Product, Snapshot
from policies.attribution.model_licence.refusals import AckRequired, AgreementRequired, AttributionRequired
from policies.attribution.model_licence.settings import Demand, Mode
from policies.attribution.model_licence.standing import Standing
from policies.attribution.model_licence.states import State
from tests.unit.policies.attribution.model_licence.licensed import (
    DAY,
    LICENCES,
    NOW,
    RECORDS,
    Clock,
    attested,
    call,
    policy,
    replica,
    shown,
    snapshot,
)

OVER = 100_000_001
ACK = (b"x-moegate-attribution-ack", b"Kimi K2")
SNAPSHOTS = {
    State.NOT_APPLICABLE: snapshot(audience=Audience.INTERNAL),
    State.BELOW: snapshot(attested()),
    State.NEAR: snapshot(attested(100_000_000)),
    State.ABOVE_DISPLAYED: snapshot(attested(OVER), evidence=(shown(), shown("kimi-k2.5"))),
    State.ABOVE_NOT_DISPLAYED: snapshot(attested(OVER)),
    State.UNKNOWN: snapshot(),
    State.EXPIRED: snapshot(attested(valid_until=NOW)),
}
WARNED = {State.NEAR, State.ABOVE_NOT_DISPLAYED, State.UNKNOWN, State.EXPIRED}


def headers(found: ModelLicence, name: str, asking: Call | None = None) -> dict[bytes, bytes]:
    return dict(found.annotate(asking or call(), replica(name)).headers)


@pytest.mark.parametrize(
    ("state", "name"), list(itertools.product(State, ("k2", "k2-5", "tuned", "free", "unrecorded")))
)
@pytest.mark.parametrize("mode", [None, *Mode])
def test_states_and_modes_and_licences_and_lineage(state: State, name: str, mode: Mode | None) -> None:
    licence = LICENCES[name]
    record = RECORDS.get(licence)
    display = record.display.string if record is not None and record.display is not None else ""
    found = policy(modes={} if mode is None else {state: mode})
    found.follow(SNAPSHOTS[state])
    stands = state if display else State.NOT_APPLICABLE
    expected = Mode.ANNOTATE if not display else mode or (Mode.WARN if state in WARNED else Mode.ANNOTATE)
    refusal = {Mode.REQUIRE_ACK: AckRequired, Mode.BLOCK: AttributionRequired}.get(expected)
    if refusal is not None:
        with pytest.raises(refusal) as caught:
            found.annotate(call(), replica(name))
        told, record_text = dict(caught.value.headers), caught.value.record
        assert (caught.value.status, caught.value.code) == (403, refusal.code)
        assert display in caught.value.message
    else:
        attribution = found.annotate(call(), replica(name))
        told, record_text = dict(attribution.headers), attribution.record
        assert attribution.in_answer == b""
    assert told.get(b"x-moegate-attribution", b"").decode() == display
    assert told[b"x-moegate-licence"].decode() == f"{licence}; state={stands.value}"
    assert (b"x-moegate-attribution-warning" in told) is (expected is Mode.WARN)
    source = record.source if record is not None else None
    assert told.get(b"link") == (f'<{source}>; rel="license"'.encode() if source else None)
    written = parse(record_text)
    assert written is not None
    assert (written.product, written.licence, written.state) == ("shop", licence, stands)
    assert (written.shown, written.mode) == (display, expected.value)
    assert written.digest == (record.digest[:16] if record is not None else "")
    assert written.refused == (refusal.code if refusal is not None else "")


def test_who_sends_the_string_back_is_served() -> None:
    found = policy(modes={State.ABOVE_NOT_DISPLAYED: Mode.REQUIRE_ACK})
    found.follow(SNAPSHOTS[State.ABOVE_NOT_DISPLAYED])
    assert headers(found, "k2", call(ACK))[b"x-moegate-attribution"] == b"Kimi K2"
    with pytest.raises(AckRequired, match=r"x-moegate-attribution-ack: Kimi K2\.5 with each call"):
        found.annotate(call(ACK), replica("k2-5"))  # other weights, another string


def test_nothing_unblocks_a_blocked_product() -> None:
    found = policy(modes={State.ABOVE_NOT_DISPLAYED: Mode.BLOCK})
    found.follow(SNAPSHOTS[State.ABOVE_NOT_DISPLAYED])
    with pytest.raises(AttributionRequired, match="have evidence of it recorded"):
        found.annotate(call(ACK), replica("k2"))


def test_a_key_goes_before_its_team_and_a_team_before_its_tenant() -> None:
    products = {name: Product(name=name, owner="Ann") for name in ("of-key", "of-team", "of-tenant")}
    all_of_them = Snapshot(
        products=products,
        of_keys={"of-shop": "of-key"},
        of_teams={("acme", "web"): "of-team", ("acme", None): "of-tenant"},
    )

    def product(known: Snapshot) -> str | None:
        found = policy()
        found.follow(known)
        written = parse(found.annotate(call(), replica("k2")).record)
        assert written is not None
        return written.product

    assert product(all_of_them) == "of-key"
    assert product(Snapshot(products=products, of_teams=all_of_them.of_teams)) == "of-team"
    assert product(Snapshot(products=products, of_teams={("acme", None): "of-tenant"})) == "of-tenant"
    assert product(Snapshot(products=products, of_teams={("acme", "other"): "of-team"})) is None
    assert product(Snapshot(products={}, of_keys={"of-shop": "gone"})) is None


def test_a_caller_without_a_product_is_unknown_and_told_what_to_do() -> None:
    found = policy(modes={State.UNKNOWN: Mode.BLOCK}, grace_days={State.UNKNOWN: 30})
    found.follow(SNAPSHOTS[State.BELOW])
    with pytest.raises(AttributionRequired, match=r"A caller without a product .* assigned to a product"):
        found.annotate(call(key="stranger"), replica("k2"))
    assert headers(found, "free", call(key="stranger"))[b"x-moegate-licence"] == b"mit; state=not_applicable"


def test_within_its_grace_a_product_is_only_warned_and_told_from_when_on_it_is_refused() -> None:
    clock = Clock()
    found = policy(clock, modes={State.ABOVE_NOT_DISPLAYED: Mode.BLOCK}, grace_days={State.ABOVE_NOT_DISPLAYED: 3})
    found.follow(snapshot(attested(OVER, valid_until=NOW + 9 * DAY)))  # since a day ago
    warned = headers(found, "k2")[b"x-moegate-attribution-warning"].decode()
    assert warned.startswith("above_not_displayed since 1970-01-11, calls are refused from 1970-01-14 on; show the")
    clock.now = NOW + 2 * DAY - 1
    assert b"x-moegate-attribution-warning" in headers(found, "k2")
    clock.now = NOW + 2 * DAY
    with pytest.raises(AttributionRequired):
        found.annotate(call(), replica("k2"))


def test_an_older_database_takes_products_away() -> None:
    clock = Clock()
    found = policy(clock)
    found.follow(SNAPSHOTS[State.BELOW])
    found.follow(Snapshot(of_keys={"of-shop": "shop"}))
    clock.now = NOW + 2 * DAY  # the time of what was known of the shop is over
    assert headers(found, "k2")[b"x-moegate-licence"] == b"kimi-k2; state=unknown"


def test_an_attestation_ends_at_its_second_without_anybody_telling() -> None:
    clock = Clock()
    found = policy(clock)
    found.follow(SNAPSHOTS[State.BELOW])
    streamed = found.annotate(call(), replica("k2"))
    clock.now = NOW + DAY - 0.001
    assert found.annotate(call(), replica("k2")) is streamed
    clock.now = NOW + DAY
    assert headers(found, "k2")[b"x-moegate-licence"] == b"kimi-k2; state=expired"
    assert dict(streamed.headers)[b"x-moegate-licence"] == b"kimi-k2; state=below"  # as it was when it began


def test_what_changes_is_told_to_every_policy_that_follows() -> None:
    standing, first, second = Standing(), policy(), policy()
    standing.tell(first)
    standing.publish(SNAPSHOTS[State.ABOVE_NOT_DISPLAYED])
    standing.tell(second)
    for each in (first, second):
        assert headers(each, "k2")[b"x-moegate-licence"] == b"kimi-k2; state=above_not_displayed"
    standing.publish(SNAPSHOTS[State.ABOVE_DISPLAYED])
    for each in (first, second):
        assert headers(each, "k2")[b"x-moegate-licence"] == b"kimi-k2; state=above_displayed"


def test_what_goes_into_an_answer() -> None:
    asked = call((b"x-moegate-attribution-in-answer", b"true"))
    found, always, never = policy(), policy(in_answers="always"), policy(in_answers="never")
    assert json.loads(found.annotate(asked, replica("k2")).in_answer) == {
        "licence": "kimi-k2",
        "display": "Kimi K2",
        "link": RECORDS["kimi-k2"].source,
        "state": "unknown",
        "product": None,
    }
    assert found.annotate(call(), replica("k2")).in_answer == b""
    assert always.annotate(call(), replica("k2")).in_answer
    assert never.annotate(asked, replica("k2")).in_answer == b""
    assert found.annotate(asked, replica("k2")).headers == found.annotate(call(), replica("k2")).headers


RICH = attested(aggregate_revenue=20_000_001)
SMALL = attested(aggregate_revenue=20_000_000)


@pytest.mark.parametrize(
    ("known", "demand", "agreement", "refused"),
    [
        (snapshot(RICH), Demand.NEVER, "needed", False),
        (snapshot(RICH), Demand.NEEDED, "needed", True),
        (snapshot(SMALL), Demand.NEEDED, "open", False),
        (snapshot(SMALL), Demand.ALWAYS, "open", True),
        (snapshot(attested()), Demand.NEEDED, "unknown", False),
        (snapshot(attested()), Demand.ALWAYS, "unknown", True),
        (snapshot(RICH, agreements={"kimi-k3": "A-17"}), Demand.ALWAYS, "on_file", False),
        (snapshot(RICH, audience=Audience.INTERNAL), Demand.ALWAYS, None, False),
        (snapshot(RICH, exemptions=("certified_partner",)), Demand.ALWAYS, None, False),
        (Snapshot(), Demand.ALWAYS, "unknown", True),
        (Snapshot(), Demand.NEEDED, "unknown", False),
    ],
)
def test_a_model_as_a_service_may_ask_for_an_agreement(
    known: Snapshot, demand: Demand, agreement: str | None, refused: bool
) -> None:
    found = policy(demand_agreement=demand, modes={State.UNKNOWN: Mode.REQUIRE_ACK, State.BELOW: Mode.REQUIRE_ACK})
    found.follow(known)
    ack = call((b"x-moegate-attribution-ack", b"Kimi K3"))
    if refused:
        with pytest.raises(AgreementRequired, match="kimi-k3 asks for an agreement") as caught:
            found.annotate(ack, replica("k3"))  # saying that the string is shown is no agreement
        told = dict(caught.value.headers)
    else:
        told = headers(found, "k3", ack)
    assert told[b"x-moegate-licence"].decode().partition("; agreement=")[2] == (agreement or "")
    assert b"agreement" not in headers(found, "k2", call(ACK))[b"x-moegate-licence"]


def test_what_models_say_of_their_licences() -> None:
    found = policy()
    assert found.describe(replica("k2").checkpoint) == {
        "id": "kimi-k2",
        "display": "Kimi K2",
        "url": RECORDS["kimi-k2"].source,
    }
    assert found.describe(replica("unrecorded").checkpoint) == {"id": "none-recorded", "display": None, "url": None}


def test_counts() -> None:
    found = policy(modes={State.ABOVE_NOT_DISPLAYED: Mode.BLOCK})
    for state in (State.BELOW, State.BELOW, State.ABOVE_NOT_DISPLAYED):
        found.follow(SNAPSHOTS[state])
        try:
            found.annotate(call(), replica("k2"))
        except Rejected:
            assert state is State.ABOVE_NOT_DISPLAYED
    annotated, refused = found.metrics()
    assert annotated.samples == {("shop", "kimi-k2", "below", "annotate"): 2}
    assert refused.samples == {("shop", "kimi-k2", "above_not_displayed", "block"): 1}
