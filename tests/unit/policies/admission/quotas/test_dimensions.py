"""What each dimension reserves before a call and books after it."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import Raw

from gateway import Attempt, Call, Dimension, Ending, Limit, Model, Operation, Outcome, Usage
from gateway.errors import QuotaExceeded
from tests.unit.builders import CHECKPOINT, make_call
from tests.unit.policies.admission.quotas.scene import NEVER_RUN, PRICED, Node, Scene, Tokens, day, ended, limit

# A call with 100 tokens of input and at most 10 of output.
RESERVED = {
    Dimension.REQUESTS: 1,
    Dimension.INPUT_TOKENS: 100,
    Dimension.CACHED_INPUT_TOKENS: 1,
    Dimension.OUTPUT_TOKENS: 10,
    Dimension.TOTAL_TOKENS: 110,
    Dimension.WEIGHTED_TOKENS: 100_000 + 40_000,
    Dimension.COST: 100_000 + 40_000,
}
# It has used 90, of which 40 were cached, and 6.
USED = {
    Dimension.REQUESTS: 1,
    Dimension.INPUT_TOKENS: 90,
    Dimension.CACHED_INPUT_TOKENS: 40,
    Dimension.OUTPUT_TOKENS: 6,
    Dimension.TOTAL_TOKENS: 96,
    Dimension.WEIGHTED_TOKENS: 50_000 + 4_000 + 24_000,
    Dimension.COST: 90_000 + 24_000,
}
OUTCOME = ended(90, 6, usage=Usage(prompt_tokens=90, cached_tokens=40, completion_tokens=6), cost_nanos=114_000)


def one(dimension: Dimension, amount: float = 1_000) -> Limit:
    return day(dimension, amount)


async def spent_by(node: Node, scene: Scene, outcome: Outcome, **changes: Any) -> tuple[int, int]:
    """What is told as spent while a call is under way, and after it."""
    lease = await node.admit(model=PRICED, **changes)
    scene.clock.now += 1
    await node.rest()
    before = scene.spent()
    lease.settle(outcome)
    await node.stop()
    return before, scene.spent()


@pytest.mark.parametrize("dimension", RESERVED)
async def test_reserved_first_and_settled_by_what_was_used(dimension: Dimension) -> None:
    scene = Scene()
    assert await spent_by(scene.node(one(dimension)), scene, OUTCOME) == (RESERVED[dimension], USED[dimension])


@pytest.mark.parametrize("dimension", RESERVED)
async def test_what_no_engine_had_is_not_counted(dimension: Dimension) -> None:
    scene = Scene()
    assert await spent_by(scene.node(one(dimension)), scene, NEVER_RUN) == (RESERVED[dimension], 0)


@pytest.mark.parametrize(
    ("code", "counted"), [("upstream_unreachable", 0), ("upstream_overloaded", 0), ("upstream_refused", 1)]
)
async def test_a_request_that_an_engine_refused_was_a_request(code: str, counted: int) -> None:
    scene = Scene()
    outcome = Outcome(ending=Ending.FAILED, status=400, attempts=(Attempt("a", "vllm", code),))
    assert await spent_by(scene.node(one(Dimension.REQUESTS)), scene, outcome) == (1, counted)
    other = Scene()
    assert (await spent_by(other.node(one(Dimension.TOTAL_TOKENS)), other, outcome))[1] == 0


async def test_a_client_that_leaves_pays_for_what_was_made() -> None:
    scene = Scene()
    left = ended(90, 3, ending=Ending.DISCONNECTED, usage_estimated=True)
    assert await spent_by(scene.node(one(Dimension.TOTAL_TOKENS)), scene, left) == (110, 93)


@pytest.mark.parametrize("dimension", [Dimension.CONCURRENT_CALLS, Dimension.CONCURRENT_STREAMS])
async def test_calls_at_once_come_back(dimension: Dimension) -> None:
    node = Scene().node(limit(dimension, 2, every=None))
    leases = [await node.admit(stream=True) for _ in range(2)]
    with pytest.raises(QuotaExceeded, match="at once") as caught:
        await node.admit(stream=True)
    assert caught.value.retry_after_seconds == 1
    leases[0].settle(OUTCOME)
    await node.admit(stream=True)


async def test_streams_at_once_are_streams() -> None:
    node = Scene().node(limit(Dimension.CONCURRENT_STREAMS, 1, every=None))
    for _ in range(5):
        await node.admit(stream=False)
    await node.admit(stream=True)
    with pytest.raises(QuotaExceeded):
        await node.admit(stream=True)


OUTPUTS: list[tuple[dict[str, Any], int]] = [
    ({"max_tokens": 10}, 10),
    ({"max_tokens": None}, 50),
    ({"max_tokens": 10, "body": b'{"messages":[],"n":3}'}, 30),
    ({"max_tokens": 10, "body": b'{"messages":[],"n":null}'}, 10),
    ({"max_tokens": 10, "operation": Operation.COMPLETIONS, "body": b'{"prompt":["a","b"],"n":2}'}, 40),
    ({"max_tokens": 10, "operation": Operation.COMPLETIONS, "body": b'{"prompt":[1,2,3]}'}, 10),
    ({"max_tokens": 10, "operation": Operation.COMPLETIONS, "body": b'{"prompt":[[1,2],[3]],"best_of":2}'}, 40),
]


@pytest.mark.parametrize(("changes", "output"), OUTPUTS)
async def test_output_is_as_asked_for_times_the_answers_or_as_is_typical(changes: dict[str, Any], output: int) -> None:
    scene = Scene()
    before, _ = await spent_by(scene.node(one(Dimension.OUTPUT_TOKENS)), scene, OUTCOME, **changes)
    assert before == output


@pytest.mark.parametrize(("default", "output"), [(20, 20), (400, 50)])
async def test_a_typical_answer_is_no_longer_than_the_model_s_default_limit(default: int, output: int) -> None:
    scene = Scene()
    model = Model("kimi-k2", (), CHECKPOINT, defaults={"max_tokens": Raw(b"%d" % default)})
    node = scene.node(one(Dimension.OUTPUT_TOKENS))
    await node.admit(model=model, max_tokens=None)
    await node.stop()
    assert scene.spent() == output


@pytest.mark.parametrize("operation", [Operation.TOKENIZE, Operation.COUNT_TOKENS])
async def test_counting_is_a_request_and_no_tokens(operation: Operation) -> None:
    limits = (one(Dimension.TOTAL_TOKENS), day(Dimension.REQUESTS, 5, name="calls"))
    scene = Scene()
    node = scene.node(*limits)
    call = make_call(operation=operation, body=b'{"messages":[{"role":"user","content":"hi"}]}')
    lease = await node.admit(call)
    lease.settle(ended(usage=None))
    await node.stop()
    assert {key.partition("|")[0]: scene.stored.used(key) for key in list(scene.stored)} == {"calls": 1}


async def test_settling_twice_counts_once() -> None:
    scene = Scene()
    node = scene.node(one(Dimension.TOTAL_TOKENS))
    lease = await node.admit()
    for _ in range(3):
        lease.settle(OUTCOME)
    await node.stop()
    assert scene.spent() == 96


async def test_a_guess_keeps_no_call_from_a_small_budget_but_its_input_may() -> None:
    def guessed() -> Call:
        return make_call(max_tokens=None)

    lease = await Scene().node(one(Dimension.TOTAL_TOKENS, 120)).admit(guessed())
    lease.settle(OUTCOME)
    with pytest.raises(QuotaExceeded, match="more than it ever allows"):
        await Scene().node(one(Dimension.TOTAL_TOKENS, 99), tokens=Tokens(typical=1)).admit(guessed())
