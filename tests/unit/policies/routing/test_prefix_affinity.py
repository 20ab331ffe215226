from __future__ import annotations

import json

from gateway import Call, Replica
from policies.routing.learned.pace import Pace
from policies.routing.learned.prefixes import Prefixes
from policies.routing.prefix_affinity import PrefixAffinity
from tests.unit.builders import make_call, make_replica
from tests.unit.policies.routing.ranking import Clock, Counter, names, place, serve

SYSTEM = "You are a careful assistant. " * 100


def turn(*texts: str, system: str = "") -> Call:
    messages = [{"role": "user", "content": text} for text in (system, *texts) if text]
    return make_call(body=json.dumps({"model": "kimi-k2", "messages": messages}).encode(), stream=True)


class Scene:
    """Replicas that read a thousand tokens a second, and each body's byte is a token."""

    def __init__(self, count: int = 3) -> None:
        self.pace = Pace(Counter(), Clock())
        self.policy = PrefixAffinity(self.pace, Prefixes(10_000))
        self.replicas = [make_replica(f"r{number}", max_concurrent=64) for number in range(count)]
        for replica in self.replicas:
            for _ in range(5):
                warm = make_call(body=b"x" * 1_000, stream=True)
                serve([self.pace], warm, replica, 1.0, 2.0, prompt_tokens=1_000, completion_tokens=10)

    def send(self, call: Call, replica: Replica) -> None:
        serve(self.policy.observers, call, replica, len(call.body) / 1_000, 9.0)

    def names(self, call: Call) -> list[str]:
        return names(self.policy, call, self.replicas)


def test_a_conversation_goes_on_where_it_was() -> None:
    scene = Scene()
    scene.send(turn("one " * 200), scene.replicas[2])
    assert scene.names(turn("one " * 200, "two")) == ["r2", "r0", "r1"]


def test_a_miss_stays_as_it_came() -> None:
    scene = Scene()
    scene.send(turn("one " * 200), scene.replicas[2])
    assert scene.names(turn("another")) == ["r0", "r1", "r2"]


def test_affinity_gives_way_when_waiting_takes_longer_than_reading_again() -> None:
    scene = Scene()
    scene.send(turn("one " * 200), scene.replicas[2])
    waiting = place(scene.policy.observers, make_call(body=b"y" * 600, stream=True), scene.replicas[2])
    assert scene.names(turn("one " * 200, "two"))[0] == "r2"
    place(scene.policy.observers, make_call(body=b"z" * 600, stream=True), scene.replicas[2])
    assert scene.names(turn("one " * 200, "two"))[0] == "r0"
    waiting.answered(0.6)
    assert scene.names(turn("one " * 200, "two"))[0] == "r2"


def test_one_system_prompt_for_all_does_not_herd_them_onto_one_replica() -> None:
    """Each is told what is queued where; a common beginning is worth a wait only as long as reading it takes."""
    scene = Scene(4)
    scene.send(turn("first", system=SYSTEM), scene.replicas[0])
    for number in range(40):
        call = turn(f"question {number} " * 50, system=SYSTEM)
        ranked = sorted(scene.replicas, key=lambda each: each.in_flight)
        first = names(scene.policy, call, ranked)[0]
        place(scene.policy.observers, call, next(each for each in scene.replicas if each.name == first))
    assert max(replica.in_flight for replica in scene.replicas) <= 2 * min(each.in_flight for each in scene.replicas)


def test_the_reason_is_told() -> None:
    scene = Scene()
    scene.send(turn("one " * 200), scene.replicas[1])
    found = scene.policy.rank(turn("one " * 200, "two"), scene.replicas)
    assert getattr(found, "note", "").startswith("r1 holds 9")


def test_what_was_sent_counts_before_it_is_held() -> None:
    """Else each attempt would be taken to find its own prompt cached, and nothing would ever queue."""
    scene = Scene()
    place(scene.policy.observers, turn("one " * 200), scene.replicas[0])
    assert scene.pace.standing(scene.replicas[0]).backlog == len(turn("one " * 200).body)
