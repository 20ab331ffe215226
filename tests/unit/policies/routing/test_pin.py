from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import pytest
from msgspec.structs import replace

from gateway import Call, Fleet, Replica, Scope
from gateway.errors import InvalidRequest, NoReplicaAvailable, Rejected
from policies.routing.pin import Pin
from tests.unit.builders import PRINCIPAL, make_call, make_replica
from tests.unit.policies.routing.ranking import names

REPLICAS = [
    make_replica("a", backend="vllm"),
    make_replica("b", backend="sglang"),
    make_replica("c", backend="vllm"),
]
DOWN = make_replica("down", backend="ktransformers")
OTHER = make_replica("other", model="another")


class Replicas:
    def replicas(self) -> Sequence[Replica]:
        return [*REPLICAS, DOWN, OTHER]


POLICY = Pin(cast("Fleet", Replicas()))


def pinned(*values: bytes, scopes: tuple[str, ...] = (Scope.INFERENCE, Scope.PIN)) -> Call:
    headers = ((b"accept", b"*/*"), *((b"x-moegate-pin", value) for value in values))
    return make_call(headers=headers, principal=replace(PRINCIPAL, scopes=frozenset(scopes)))


@pytest.mark.parametrize(
    ("value", "left"),
    [(b"replica=b", ["b"]), (b"backend=vllm", ["a", "c"]), (b" backend=sglang ", ["b"])],
)
def test_a_call_goes_where_it_is_pinned(value: bytes, left: list[str]) -> None:
    assert names(POLICY, pinned(value), REPLICAS) == left


def test_without_the_header_it_goes_anywhere() -> None:
    assert names(POLICY, pinned(scopes=(Scope.INFERENCE,)), REPLICAS) == ["a", "b", "c"]


def test_without_the_scope_it_is_forbidden_whatever_the_header_says() -> None:
    for value in (b"replica=b", b"nonsense"):
        with pytest.raises(Rejected, match="may not use x-moegate-pin; it lacks the scope pin"):
            POLICY.rank(pinned(value, scopes=(Scope.INFERENCE,)), REPLICAS)


@pytest.mark.parametrize(
    "values", [(b"b",), (b"replica=",), (b"url=b",), (b"replica=b;",), (b"replica=a", b"replica=a")]
)
def test_a_header_that_cannot_be_read_is_the_caller_s_mistake(values: tuple[bytes, ...]) -> None:
    with pytest.raises(InvalidRequest, match="must be replica=NAME or backend=NAME"):
        POLICY.rank(pinned(*values), REPLICAS)


@pytest.mark.parametrize("value", [b"replica=nobody", b"backend=llama_cpp", b"replica=other", b"replica=vllm"])
def test_so_is_one_that_names_nothing_of_this_model(value: bytes) -> None:
    with pytest.raises(InvalidRequest, match=r"kimi-k2 has no (replica|backend) named"):
        POLICY.rank(pinned(value), REPLICAS)


def test_one_that_names_a_replica_which_is_down_may_be_tried_again() -> None:
    with pytest.raises(NoReplicaAvailable) as caught:
        POLICY.rank(pinned(b"replica=down"), REPLICAS)
    assert caught.value.retry_after_seconds


def test_its_reason_stands_in_the_decision() -> None:
    found: Any = POLICY.rank(pinned(b"replica=b"), REPLICAS)
    assert found.reason == "pinned elsewhere"
