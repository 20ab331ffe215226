from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway import Replica
from policies.routing.least_loaded import LeastLoaded
from tests.unit.builders import make_call, make_replica

CALL = make_call()

loads = st.tuples(st.integers(0, 8), st.integers(1, 8))


def replicas_of(*in_flight_of_slots: tuple[int, int]) -> list[Replica]:
    return [
        make_replica(str(number), in_flight=taken, max_concurrent=slots)
        for number, (taken, slots) in enumerate(in_flight_of_slots)
    ]


def first(policy: LeastLoaded, replicas: list[Replica]) -> str:
    return policy.rank(CALL, replicas)[0].name


def test_the_smallest_share_of_slots_in_use_comes_first() -> None:
    replicas = replicas_of((4, 8), (1, 8), (1, 4))
    assert [replica.name for replica in LeastLoaded().rank(CALL, replicas)] == ["1", "2", "0"]


def test_a_share_counts_and_not_a_number() -> None:
    assert first(LeastLoaded(), replicas_of((1, 2), (10, 100))) == "1"


def test_ties_are_taken_in_turn() -> None:
    policy, replicas = LeastLoaded(), replicas_of((0, 4), (0, 4), (0, 4))
    turns = [first(policy, replicas) for _ in range(6)]
    assert sorted(turns) == ["0", "0", "1", "1", "2", "2"]
    assert turns[:3] == turns[3:]


def test_a_tie_among_the_best_leaves_the_worse_behind() -> None:
    policy, replicas = LeastLoaded(), replicas_of((1, 4), (0, 4), (0, 4))
    assert {first(policy, replicas) for _ in range(6)} == {"1", "2"}


@given(st.lists(loads, max_size=6), st.integers(0, 5))
def test_it_gives_a_permutation_sorted_by_share_and_changes_nothing(load: list[tuple[int, int]], turns: int) -> None:
    policy, replicas = LeastLoaded(), replicas_of(*load)
    before = list(replicas)
    for _ in range(turns + 1):
        ranked = policy.rank(CALL, replicas)
        assert sorted(map(id, ranked)) == sorted(map(id, replicas))
        shares = [replica.in_flight / replica.max_concurrent for replica in ranked]
        assert shares == sorted(shares)
    assert replicas == before
