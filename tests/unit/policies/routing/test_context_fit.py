from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import Checkpoint, Model
from gateway.errors import InvalidRequest
from policies.routing.context_fit import ContextFit, ContextFitSettings
from tests.unit.builders import make_call, make_replica
from tests.unit.fakes import FakeCounter
from tests.unit.policies.routing.ranking import ranked

MODEL = Model("kimi-k2", (), Checkpoint(id="k2", context_length=1_000))
POLICY = ContextFit(ContextFitSettings(bytes_per_token=4.0), FakeCounter())


def kept(body_bytes: int, max_tokens: int | None, *contexts: int) -> list[int]:
    replicas = [make_replica(str(number), context_length=context) for number, context in enumerate(contexts)]
    call = make_call(model=MODEL, body=b"x" * body_bytes, max_tokens=max_tokens)
    return [replica.context_length for replica in ranked(POLICY, call, replicas)]


def test_prompt_and_answer_must_fit_together() -> None:
    assert kept(400, 100, 199, 200, 1_000) == [200, 1_000]


def test_without_a_limit_there_is_room_for_one_token_at_least() -> None:
    assert kept(400, None, 100, 101) == [101]


def test_the_order_stays() -> None:
    assert kept(400, 100, 1_000, 100, 500, 200) == [1_000, 500, 200]


def test_an_answer_longer_than_the_model_is_the_caller_s_mistake() -> None:
    with pytest.raises(InvalidRequest) as caught:
        kept(4, 1_001, 1_000)
    assert caught.value.param == "max_tokens"
    assert "max_tokens is 1001, but kimi-k2 takes 1000 tokens" in caught.value.message


def test_so_is_a_prompt_longer_than_the_model() -> None:
    with pytest.raises(InvalidRequest, match="about 1001 tokens long, but kimi-k2 takes 1000"):
        kept(4_000, 1, 1_000, 500)


def test_a_replica_that_takes_more_than_the_checkpoint_says_is_believed() -> None:
    assert kept(8_000, 1, 3_000) == [3_000]


def test_what_fits_the_model_and_no_ready_replica_leaves_none() -> None:
    assert kept(400, 100, 100, 150) == []


def test_what_the_counter_says_is_taken_for_three_quarters() -> None:
    """An estimate that is too high must not keep a call from an engine that could serve it."""
    policy = ContextFit(ContextFitSettings(), FakeCounter())  # a hundred tokens, whatever is asked
    replicas = [make_replica("short", context_length=84), make_replica("long", context_length=85)]
    call = make_call(model=MODEL, max_tokens=10)
    assert [replica.name for replica in ranked(policy, call, replicas)] == ["long"]


def test_images_are_not_taken_for_text() -> None:
    body = b'{"model":"k","messages":[{"image_url":"data:image/png;base64,' + b"A" * 8_000 + b'"}]}'
    replicas = [make_replica(context_length=1_000)]
    assert ranked(POLICY, make_call(model=MODEL, body=body, max_tokens=1), replicas) == replicas


@given(
    st.integers(0, 4_000), st.none() | st.integers(1, 1_000), st.lists(st.integers(1, 1_000), min_size=1, max_size=6)
)
def test_it_only_ever_drops_and_never_a_larger_one_before_a_smaller(
    body_bytes: int, max_tokens: int | None, contexts: list[int]
) -> None:
    replicas = [make_replica(str(number), context_length=context) for number, context in enumerate(contexts)]
    call = make_call(model=MODEL, body=b"x" * body_bytes, max_tokens=max_tokens)
    try:
        left = ranked(POLICY, call, replicas)
    except InvalidRequest:
        assert body_bytes // 4 + (max_tokens or 1) > 1_000
        return
    assert left == [replica for replica in replicas if replica in left]
    dropped = [replica.context_length for replica in replicas if replica not in left]
    assert all(large.context_length > small for large in left for small in dropped)
