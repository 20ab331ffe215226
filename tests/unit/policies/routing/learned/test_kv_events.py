from __future__ import annotations

from typing import Any

import pytest

from policies.routing.learned.blocks import Blocks, links_of, root
from policies.routing.learned.kv_events import Follower
from tests.unit.policies.routing.learned.kv_events_written import CLEARED, batch, removed, stored

TOKENS = list(range(12))


@pytest.fixture
def blocks() -> Blocks:
    return Blocks(1_000)


@pytest.fixture
def follower(blocks: Blocks) -> Follower:
    follower = Follower(blocks)
    follower.connected = True
    return follower


def held(blocks: Blocks, salt: str | None = None) -> int:
    """Of a prompt with that salt, so many blocks."""
    return next((count for count, _ in blocks.match(links_of(TOKENS, 4, root(salt)))), 0)


def test_what_is_stored_removed_and_cleared_is_held_or_not(blocks: Blocks, follower: Follower) -> None:
    assert follower.take(0, batch(stored([1, 2], TOKENS[:8]), stored([3], TOKENS[8:], parent=2)))
    assert held(blocks) == 3
    assert follower.take(1, batch(removed(3), removed(2)))
    assert held(blocks) == 1
    assert follower.take(2, batch(CLEARED))
    assert (held(blocks), follower.mode) == (0, "precise")


def test_names_may_be_bytes(blocks: Blocks, follower: Follower) -> None:
    first = stored([1], TOKENS[:4]) | {"block_hashes": [b"\1" * 32]}
    follower.take(0, batch(first, stored([2], TOKENS[4:8]) | {"parent_block_hash": b"\1" * 32}))
    assert held(blocks) == 2


@pytest.mark.parametrize(
    "said", [{"extra_keys": [["acme"], None, None]}, {"cache_salt": "acme"}], ids=["vllm", "sglang"]
)
def test_a_salt_keeps_prompts_apart(blocks: Blocks, follower: Follower, said: dict[str, Any]) -> None:
    follower.take(0, batch(stored([1, 2, 3], TOKENS, **said)))
    assert (held(blocks, "acme"), held(blocks, "other"), held(blocks)) == (3, 0, 0)


@pytest.mark.parametrize(
    "other",
    [
        {"medium": "CPU"},
        {"group_idx": 1},
        {"lora_name": "adapter"},
        {"extra_keys": [["acme", "more"], None, None]},
        {"extra_keys": [None, [["image", 3]], None]},
        {"token_ids": [[1, 2]] * 12},
        {"token_ids": [-1] * 12},
        {"type": "BlockMoved"},
    ],
)
def test_what_no_plain_prompt_finds_there_is_not_held(
    blocks: Blocks, follower: Follower, other: dict[str, Any]
) -> None:
    follower.take(0, batch(stored([1, 2, 3], TOKENS) | other, {"type": "BlockStored"}, 7))
    assert (held(blocks), held(blocks, "acme")) == (0, 0)
    follower.take(1, batch(stored([4], TOKENS[:4]), removed(4, medium="CPU"), removed(4, group_idx=2)))
    assert held(blocks) == 1


def test_a_gap_is_noticed_and_nothing_is_taken_twice(blocks: Blocks, follower: Follower) -> None:
    assert follower.take(0, batch(stored([1], TOKENS[:4])))
    assert not follower.take(2, batch(stored([3], TOKENS[8:], parent=2)))
    assert (held(blocks), follower.last) == (1, 0)
    assert follower.take(1, batch(removed(1)))
    assert follower.take(0, batch(stored([1], TOKENS[:4])))
    assert (held(blocks), follower.last) == (0, 1)


def test_who_begins_in_the_middle_knows_a_part_until_all_is_cleared(blocks: Blocks, follower: Follower) -> None:
    assert not follower.take(7, batch(stored([9], TOKENS[:4])))
    follower.begin(7)
    assert follower.take(7, batch(stored([9], TOKENS[:4]), stored([3], TOKENS[4:8], parent=2)))
    assert (held(blocks), follower.mode, follower.holder.unknown) == (1, "partial", 1)
    follower.take(8, batch(CLEARED))
    assert follower.mode == "precise"


def test_another_engine_is_told_by_its_last_batch(follower: Follower) -> None:
    follower.take(0, batch(stored([1], TOKENS[:4])))
    assert follower.is_same(0, batch(stored([1], TOKENS[:4])))
    assert not follower.is_same(0, batch(stored([2], TOKENS[:4])))
    assert not follower.is_same(1, batch(stored([1], TOKENS[:4])))


def test_a_batch_that_nobody_can_read_leaves_nothing_certain(blocks: Blocks, follower: Follower) -> None:
    follower.take(0, batch(stored([1], TOKENS[:4])))
    assert follower.take(1, b"\xc1 no such thing")
    assert (held(blocks), follower.mode, follower.unreadable) == (0, "partial", 1)


def test_without_anybody_who_listens_it_is_estimated(follower: Follower) -> None:
    follower.take(0, batch())
    assert follower.mode == "precise"
    follower.connected = False
    assert follower.mode == "estimated"
