from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from gateway import Call, Decision, Operation, Ranking, Replica, ReplicaState, RoutingPolicy, Step
from gateway.dataplane.placement import place
from gateway.errors import InvalidRequest, NoReplicaAvailable, PolicyFailed, Rejected
from gateway.fleet.pool import Pool
from tests.unit.builders import MODEL, make_call, make_member, make_pool, make_replica
from tests.unit.fakes import FakeBackend


class Policy:
    """Does with the list what it is told to."""

    def __init__(self, change: Any) -> None:
        self.change = change
        self.seen: list[str] = []

    def rank(self, call: Call, replicas: Sequence[Replica]) -> Any:
        self.seen = names(replicas)
        return self.change(replicas)


def names(replicas: Sequence[Replica]) -> list[str]:
    return [replica.name for replica in replicas]


def run(
    *policies: tuple[str, RoutingPolicy], replicas: Sequence[Replica] = (), decision: Decision | None = None
) -> Any:
    pool = make_pool(*(replicas or [make_replica(name) for name in "abc"]))
    return names(place(policies, make_call(), pool, decision or Decision()))


def test_without_policies_the_order_of_the_configuration_stands() -> None:
    assert run() == ["a", "b", "c"]


def test_each_policy_sees_what_its_predecessor_left() -> None:
    reverse, drop, look = Policy(lambda all_: list(reversed(all_))), Policy(lambda all_: all_[1:]), Policy(lambda a: a)
    assert run(("reverse", reverse), ("drop", drop), ("look", look)) == ["b", "a"]
    assert (reverse.seen, drop.seen, look.seen) == (["a", "b", "c"], ["c", "b", "a"], ["b", "a"])


def test_the_decision_says_what_each_policy_left() -> None:
    decision = Decision()
    run(("reverse", Policy(lambda all_: list(reversed(all_)))), ("drop", Policy(lambda a: a[:1])), decision=decision)
    assert decision.candidates == ("a", "b", "c")
    assert decision.steps == (
        Step(policy="reverse", left=("c", "b", "a")),
        Step(policy="drop", left=("c",), dropped=(("b", "dropped"), ("a", "dropped"))),
    )


def test_a_policy_may_say_why() -> None:
    decision = Decision()
    scored = Policy(
        lambda all_: Ranking(all_[1:], scores=[0.5, 2.0], unit="seconds", reason="context", note="so it is")
    )
    look = Policy(lambda all_: all_)
    assert run(("scored", scored), ("look", look), decision=decision) == ["b", "c"]
    assert look.seen == ["b", "c"]
    assert decision.steps == (
        Step(
            policy="scored",
            left=("b", "c"),
            dropped=(("a", "context"),),
            scores=(0.5, 2.0),
            unit="seconds",
            note="so it is",
        ),
        Step(policy="look", left=("b", "c")),
    )


def test_the_decision_begins_with_those_that_could_not_take_the_call_at_all() -> None:
    replicas = [
        make_replica("a", state=ReplicaState.STARTING),
        make_replica("b", in_flight=4),
        make_replica("c", operations=frozenset({Operation.COMPLETIONS})),
        make_replica("d"),
    ]
    decision = Decision()
    run(("look", Policy(lambda all_: all_)), replicas=replicas, decision=decision)
    assert decision.candidates == ("a", "b", "c", "d")
    assert decision.steps == (
        Step(policy="capability_fit", left=("d",), dropped=(("a", "starting"), ("b", "full"), ("c", "cannot do chat"))),
        Step(policy="look", left=("d",)),
    )


def test_a_policy_that_leaves_none_is_named_and_the_rest_is_not_asked() -> None:
    decision, after = Decision(), Policy(lambda all_: all_)
    with pytest.raises(NoReplicaAvailable, match="kimi-k2 fits this call: picky left none") as caught:
        run(("picky", Policy(lambda _: [])), ("after", after), decision=decision)
    assert caught.value.retry_after_seconds
    assert decision.steps == (
        Step(policy="picky", left=(), dropped=(("a", "dropped"), ("b", "dropped"), ("c", "dropped"))),
    )
    assert after.seen == []


@pytest.mark.parametrize("change", [lambda _: 1 / 0, lambda _: None, lambda _: [None]])
def test_a_policy_that_crashes_or_returns_nonsense_refuses_the_call(change: Any) -> None:
    with pytest.raises(PolicyFailed, match="routing policy wild crashed") as caught:
        run(("wild", Policy(change)))
    assert caught.value.__cause__ is not None


def test_a_policy_may_refuse() -> None:
    def refuse(_: object) -> None:
        raise Rejected("not from these weights")

    decision = Decision()
    with pytest.raises(Rejected):
        run(("strict", Policy(refuse)), decision=decision)
    assert decision.steps[-1].policy == "strict"
    assert decision.steps[-1].left == ()


@pytest.mark.parametrize(
    "unfit",
    [
        {"state": ReplicaState.STARTING},
        {"state": ReplicaState.UNREACHABLE},
        {"state": ReplicaState.FAILED},
        {"in_flight": 4, "max_concurrent": 4},
        {"operations": frozenset({Operation.COMPLETIONS})},
    ],
)
def test_only_replicas_that_can_take_the_call_now_are_ranked(unfit: dict[str, Any]) -> None:
    look = Policy(lambda all_: all_)
    assert run(("look", look), replicas=[make_replica("a", **unfit), make_replica("b")]) == ["b"]
    assert look.seen == ["b"]


def test_an_operation_that_no_backend_has_is_the_caller_s_mistake() -> None:
    pool = make_pool(make_replica(operations=frozenset({Operation.COMPLETIONS})))
    with pytest.raises(InvalidRequest) as caught:
        place([], make_call(), pool, Decision())
    assert caught.value.message == "No backend of kimi-k2 serves chat; they serve: completions."
    assert caught.value.status == 400


def test_an_operation_that_only_a_replica_that_is_down_has_is_not() -> None:
    pool = make_pool(
        make_replica("a", operations=frozenset({Operation.COMPLETIONS})), make_replica("b", state=ReplicaState.STARTING)
    )
    with pytest.raises(NoReplicaAvailable) as caught:
        place([], make_call(), pool, Decision())
    assert caught.value.message == "No replica of kimi-k2 is ready: b is starting."
    assert caught.value.retry_after_seconds


def test_a_full_pool_says_so() -> None:
    pool = make_pool(make_replica("a", in_flight=4), make_replica("b", state=ReplicaState.FAILED))
    with pytest.raises(NoReplicaAvailable, match=r"^All replicas of kimi-k2 .* at their max_concurrent\.$"):
        place([], make_call(), pool, Decision())


# Objections: the engine could do the operation, but not as asked

ODD = b'{"model":"kimi-k2","messages":[1],"odd":1}'


class Objecting(FakeBackend):
    """An engine that would ignore `odd`."""

    kind = "objecting"

    def objection(self, call: Call, replica: Replica) -> str | None:
        return f"{replica.name} knows no `odd`." if "odd" in call.fields else None


class Willing(FakeBackend):
    def objection(self, call: Call, replica: Replica) -> str | None:
        return None


def mixed(**states: Any) -> Pool:
    """Replicas a and b object, c does not."""
    replicas = [make_replica(name, **states.get(name, {})) for name in "abc"]
    backends = [Objecting(), Objecting(), Willing()]
    return Pool(MODEL, [make_member(*pair) for pair in zip(replicas, backends, strict=True)], 3)


def test_a_replica_that_does_not_object_is_chosen() -> None:
    decision = Decision()
    assert names(place([], make_call(body=ODD), mixed(), decision)) == ["c"]
    asked = "cannot do it as asked"
    assert decision.candidates == ("a", "b", "c")
    assert decision.steps == (Step(policy="capability_fit", left=("c",), dropped=(("a", asked), ("b", asked))),)
    assert names(place([], make_call(), mixed(), Decision())) == ["a", "b", "c"]


def test_policies_do_not_see_those_that_object() -> None:
    look = Policy(lambda all_: all_)
    place([("look", look)], make_call(body=ODD), mixed(), Decision())
    assert look.seen == ["c"]


def test_when_all_object_the_caller_is_told_why() -> None:
    pool = Pool(MODEL, [make_member(make_replica(name), Objecting()) for name in "ab"], 3)
    with pytest.raises(InvalidRequest) as caught:
        place([], make_call(body=ODD), pool, Decision())
    assert caught.value.message == "a knows no `odd`."


@pytest.mark.parametrize("state", [{"state": ReplicaState.STARTING}, {"in_flight": 4, "max_concurrent": 4}])
def test_when_the_only_one_that_does_not_object_is_busy_or_down_it_is_worth_another_try(state: dict[str, Any]) -> None:
    with pytest.raises(NoReplicaAvailable) as caught:
        place([], make_call(body=ODD), mixed(c=state), Decision())
    assert caught.value.retry_after_seconds


def test_an_objection_of_a_replica_that_is_down_does_not_count_as_a_chance() -> None:
    """All that could serve it object, ready or not: another try would not help."""
    pool = Pool(MODEL, [make_member(make_replica("a", state=ReplicaState.FAILED), Objecting())], 3)
    with pytest.raises(InvalidRequest):
        place([], make_call(body=ODD), pool, Decision())
