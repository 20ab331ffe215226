from __future__ import annotations

import json

import pytest

from gateway import Call, Replica, Usage
from policies.routing.learned.prefixes import MOST_BITS, Prefixes
from tests.unit.builders import make_call, make_replica
from tests.unit.policies.routing.ranking import place, serve

LONG = "It was a dark and stormy night. " * 100


def conversation(*texts: str) -> Call:
    messages = [{"role": "user", "content": text} for text in texts]
    return make_call(body=json.dumps({"model": "kimi-k2", "messages": messages}).encode(), stream=True)


def send(prefixes: Prefixes, call: Call, replica: Replica) -> None:
    serve([prefixes], call, replica, 0.1, 1.0, prompt_tokens=10, completion_tokens=1)


@pytest.fixture
def prefixes() -> Prefixes:
    return Prefixes(1_000)


def test_a_replica_holds_what_it_was_sent_and_others_do_not(prefixes: Prefixes) -> None:
    a, b = make_replica("a"), make_replica("b")
    send(prefixes, conversation("one"), a)
    asked = conversation("one", "two")
    assert 0.4 < prefixes.cached_share(asked, a) < 0.7
    assert prefixes.cached_share(asked, b) == 0.0
    assert prefixes.cached_share(conversation("another"), a) == 0.0


def test_who_holds_more_is_known(prefixes: Prefixes) -> None:
    a, b, c = (make_replica(name) for name in "abc")
    send(prefixes, conversation(LONG, "x"), a)
    send(prefixes, conversation(LONG, "y"), b)
    send(prefixes, conversation(LONG, "y", "z"), b)
    asked = conversation(LONG, "y", "z", "!")
    assert prefixes.longer(asked, c, [a, b, c]) == [a, b]
    assert prefixes.longer(asked, a, [a, b, c]) == [b]
    assert prefixes.longer(asked, b, [a, b, c]) == []
    assert prefixes.cached_share(asked, b) > prefixes.cached_share(asked, a) > 0.8


def test_it_is_taken_to_hold_what_is_on_its_way(prefixes: Prefixes) -> None:
    replica = make_replica()
    place([prefixes], conversation("one"), replica)
    assert prefixes.cached_share(conversation("one", "two"), replica) > 0


def test_but_not_what_it_failed_to_answer(prefixes: Prefixes) -> None:
    replica = make_replica()
    place([prefixes], conversation(LONG), replica).ended(0.1, error_code="upstream_unreachable")
    assert prefixes.cached_share(conversation(LONG, "two"), replica) == 0.0


def test_an_answer_that_broke_off_has_been_read_all_the_same(prefixes: Prefixes) -> None:
    replica = make_replica()
    attempt = place([prefixes], conversation(LONG), replica)
    attempt.answered(0.1)
    attempt.ended(0.5, error_code="broken_off")
    assert prefixes.cached_share(conversation(LONG, "two"), replica) > 0.5


def test_a_replica_that_has_changed_its_state_holds_nothing_any_more(prefixes: Prefixes) -> None:
    a, b = make_replica("a"), make_replica("b")
    for replica in (a, b):
        send(prefixes, conversation(LONG), replica)
    a.changed_at += 1.0
    asked = conversation(LONG, "two")
    assert prefixes.cached_share(asked, a) == 0.0
    assert prefixes.cached_share(asked, b) > 0.5
    assert prefixes.longer(asked, a, [a, b]) == [b]
    send(prefixes, conversation(LONG), a)
    assert prefixes.cached_share(conversation(LONG, "three"), a) > 0.5


def test_restarts_without_end_are_no_trouble(prefixes: Prefixes) -> None:
    replica = make_replica()
    for _ in range(2 * MOST_BITS + 3):
        replica.changed_at += 1.0
        send(prefixes, conversation(LONG), replica)
    assert prefixes.cached_share(conversation(LONG, "two"), replica) > 0.5


def test_what_was_not_used_for_longest_is_forgotten_and_shared_beginnings_last() -> None:
    prefixes, replica = Prefixes(40), make_replica()
    for number in range(200):
        send(prefixes, conversation(LONG, f"question {number}"), replica)
        assert len(prefixes) <= 40
    assert prefixes.cached_share(conversation(LONG, "question 0", "and?"), replica) > 0.5
    assert prefixes.cached_share(conversation(LONG, "question 199", "and?"), replica) > prefixes.cached_share(
        conversation(LONG, "question 0", "and?"), replica
    )


def test_an_engine_that_says_it_had_nothing_is_trusted_less() -> None:
    prefixes, replica, asked = Prefixes(1_000), make_replica(), conversation(LONG)
    send(prefixes, asked, replica)
    believed = prefixes.cached_share(asked, replica)
    for _ in range(60):
        place([prefixes], asked, replica).ended(1.0, usage=Usage(prompt_tokens=1_000, cached_tokens=0))
    doubted = prefixes.cached_share(asked, replica)
    assert doubted < believed / 10
    for _ in range(60):
        place([prefixes], asked, replica).ended(1.0, usage=Usage(prompt_tokens=1_000, cached_tokens=1_000))
    assert prefixes.cached_share(asked, replica) == pytest.approx(believed, rel=0.05)


def test_an_engine_that_does_not_say_is_trusted(prefixes: Prefixes) -> None:
    replica, asked = make_replica(), conversation(LONG)
    send(prefixes, asked, replica)
    before = prefixes.cached_share(asked, replica)
    for _ in range(10):
        place([prefixes], asked, replica).ended(1.0, usage=Usage(prompt_tokens=1_000, cached_tokens=None))
    assert prefixes.cached_share(asked, replica) == before


async def test_after_a_reload_without_it_nothing_is_held(prefixes: Prefixes) -> None:
    """What is shared may outlive whoever told it: `Pace` goes on to ask."""
    replica, asked = make_replica(), conversation(LONG, "two")
    send(prefixes, conversation(LONG), replica)
    await prefixes.aclose()
    assert prefixes.cached_share(asked, replica) == 0.0
    assert len(prefixes) == 0
