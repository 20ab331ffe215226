from __future__ import annotations

import json
from collections import Counter as Tally
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway import Call, Replica
from policies.routing.session_affinity import SessionAffinity, SessionAffinitySettings
from tests.unit.builders import PRINCIPAL, make_call, make_replica
from tests.unit.policies.routing.ranking import names

FLEET = [make_replica(f"r{number}", max_concurrent=10) for number in range(5)]


def first(call: Call, replicas: list[Replica] | None = None, **settings: Any) -> str:
    return names(SessionAffinity(SessionAffinitySettings(**settings)), call, replicas or FLEET)[0]


def by_header(session: int) -> Call:
    return make_call(headers=((b"x-session-id", b"%d" % session),))


def talk(*said: tuple[str, str]) -> Call:
    messages = [{"role": role, "content": text} for role, text in said]
    return make_call(body=json.dumps({"model": "kimi-k2", "messages": messages}).encode())


SYSTEM = ("system", "Be brief. " * 300)


def where(replicas: list[Replica], **settings: Any) -> list[str]:
    return [first(by_header(session), replicas, **settings) for session in range(400)]


def test_a_session_stays_and_sessions_spread() -> None:
    assert where(FLEET) == where(list(reversed(FLEET)))
    assert min(Tally(where(FLEET)).values()) > 40


def test_the_header_counts_before_the_user_and_that_before_the_conversation() -> None:
    firsts = {first(make_call(headers=((b"x-session-id", b"s"),), user=f"u{number}")) for number in range(20)}
    assert len(firsts) == 1
    assert len({first(make_call(user=f"u{number}")) for number in range(20)}) > 1


def test_another_header_may_be_named() -> None:
    firsts = {first(make_call(headers=((b"x-thread", b"%d" % n),)), headers=["X-Thread"]) for n in range(20)}
    assert len(firsts) > 1


@pytest.mark.parametrize("beginning", [(SYSTEM,), ()])
def test_a_conversation_stays_from_its_first_turn_on(beginning: tuple[tuple[str, str], ...]) -> None:
    for number in range(20):
        begun = (*beginning, ("user", f"question {number}"))
        then = (*begun, ("assistant", "Well."), ("user", "And?"))
        assert first(talk(*begun)) == first(talk(*then)) == first(talk(*then, ("assistant", "So."), ("user", "Why?")))


def test_conversations_with_one_system_prompt_are_many() -> None:
    assert len({first(talk(SYSTEM, ("user", f"question {number}"))) for number in range(20)}) > 1


def test_a_call_of_no_session_stays_as_it_came() -> None:
    policy = SessionAffinity(SessionAffinitySettings(by=["header", "user"]))
    assert names(policy, make_call(), FLEET) == [replica.name for replica in FLEET]


def test_tenants_with_the_same_session_id_are_not_one_session() -> None:
    calls = [replace(by_header(1), principal=replace(PRINCIPAL, tenant=f"tenant {number}")) for number in range(20)]
    assert len({first(call) for call in calls}) > 1


def test_when_a_replica_goes_only_its_own_sessions_move() -> None:
    before, after = where(FLEET), where(FLEET[:-1])
    assert all(new == old for old, new in zip(before, after, strict=True) if old != "r4")


def test_when_a_weight_grows_sessions_move_to_that_replica_alone() -> None:
    before, after = where(FLEET), where(FLEET, weights={"r0": 30.0})
    assert {new for old, new in zip(before, after, strict=True) if old != new} == {"r0"}


def test_shares_are_in_proportion_to_slots() -> None:
    fleet = [make_replica("small", max_concurrent=10), make_replica("large", max_concurrent=90)]
    assert 20 <= Tally(where(fleet))["small"] <= 65


def test_a_replica_with_more_than_its_share_is_passed_over() -> None:
    call = by_header(7)
    usual = next(replica for replica in FLEET if replica.name == first(call))
    fleet = [make_replica(each.name, max_concurrent=10, in_flight=9 if each is usual else 1) for each in FLEET]
    assert first(call, fleet) != usual.name
    assert first(call, fleet, load_factor=10.0) == usual.name


@given(st.lists(st.integers(0, 9), min_size=2, max_size=9), st.integers(0, 1_000))
def test_no_replica_gets_more_than_the_bound_as_long_as_another_is_under_it(loads: list[int], session: int) -> None:
    fleet = [make_replica(str(at), max_concurrent=10, in_flight=load) for at, load in enumerate(loads)]
    chosen = next(replica for replica in fleet if replica.name == first(by_header(session), fleet))
    assert chosen.in_flight < 1.25 * (sum(loads) + 1) / len(loads) + 1
