from __future__ import annotations

import pytest

from policies.routing.learned.blocks import Blocks, Holder, links_of, root

TOKENS = list(range(100, 112))
ROOT = root(None)
LINKS = links_of(TOKENS, 4, ROOT)


@pytest.fixture
def blocks() -> Blocks:
    return Blocks(1_000)


def held(blocks: Blocks, holder: Holder, links: list[int] | None = None) -> int:
    """Blocks of the beginning that one holds."""
    return next((count for count, bits in blocks.match(LINKS if links is None else links) if bits & holder.bit), 0)


def test_a_prompt_s_beginning_is_found_and_its_middle_is_not(blocks: Blocks) -> None:
    holder = blocks.holder()
    holder.store([1, 2], ROOT, TOKENS[:8], 4)
    assert held(blocks, holder) == 2
    assert held(blocks, holder, list(links_of([*TOKENS[:4], 7, 7, 7, 7], 4, ROOT))) == 1
    assert held(blocks, holder, list(links_of(TOKENS[4:], 4, ROOT))) == 0
    assert held(blocks, holder, list(links_of(TOKENS[:3], 4, ROOT))) == 0


def test_who_holds_more_stands_in_what_holds_less_too(blocks: Blocks) -> None:
    a, b, c = (blocks.holder() for _ in range(3))
    a.store([1], ROOT, TOKENS[:4], 4)
    b.store([7, 8, 9], ROOT, TOKENS, 4)
    assert blocks.match(LINKS) == [(3, b.bit), (1, a.bit | b.bit)]
    assert held(blocks, c) == 0


def test_blocks_follow_on_by_the_engine_s_own_names(blocks: Blocks) -> None:
    holder = blocks.holder()
    holder.store([1], ROOT, TOKENS[:4], 4)
    holder.store([2, 3], holder.link(1), TOKENS[4:], 4)
    assert held(blocks, holder) == 3
    holder.store([5], holder.link(99), TOKENS[:4], 4)
    assert (len(holder), holder.unknown) == (3, 1)


def test_a_removed_block_ends_what_is_held_there(blocks: Blocks) -> None:
    holder, other = blocks.holder(), blocks.holder()
    for each in (holder, other):
        each.store([1, 2, 3], ROOT, TOKENS, 4)
    holder.remove(2)
    holder.remove(2)
    assert (held(blocks, holder), held(blocks, other)) == (1, 3)
    holder.clear()
    assert (held(blocks, holder), held(blocks, other), blocks.size) == (0, 3, 3)
    other.clear()
    assert blocks.holding == {}


def test_what_is_on_its_way_counts_until_it_has_arrived(blocks: Blocks) -> None:
    holder = blocks.holder()
    holder.expect(LINKS)
    holder.expect(LINKS[:1])
    assert held(blocks, holder) == 3
    holder.arrived(LINKS)
    assert held(blocks, holder) == 1
    holder.store([1, 2], ROOT, TOKENS[:8], 4)
    holder.arrived(LINKS[:1])
    assert held(blocks, holder) == 2
    holder.clear()
    assert blocks.holding == {}


def test_no_more_is_remembered_than_there_is_room_for() -> None:
    blocks = Blocks(5)
    a, b = blocks.holder(), blocks.holder()
    a.store([1, 2, 3], ROOT, TOKENS, 4)
    b.store([1, 2, 3], ROOT, TOKENS, 4)
    assert (blocks.size, b.unknown, held(blocks, b)) == (5, 1, 2)
    a.remove(3)
    b.store([3], b.link(2), TOKENS[8:], 4)
    assert (blocks.size, held(blocks, b)) == (5, 3)


def test_the_place_of_one_that_is_gone_is_given_away_empty(blocks: Blocks) -> None:
    gone, stays = blocks.holder(), blocks.holder()
    for holder in (gone, stays):
        holder.store([1, 2, 3], ROOT, TOKENS, 4)
    gone.expect(LINKS)
    gone.close()
    new = blocks.holder()
    assert new.bit == gone.bit
    gone.arrived(LINKS)  # of a call that outlasted it
    assert (held(blocks, new), held(blocks, stays)) == (0, 3)


def test_what_fits_to_nothing_is_left_out(blocks: Blocks) -> None:
    holder = blocks.holder()
    holder.store([1], ROOT, TOKENS[:3], 4)
    holder.store([1], ROOT, TOKENS[:4], 4)
    holder.store([2], holder.link(1), TOKENS[:2], 2)  # part of a block
    assert (held(blocks, holder), holder.unknown) == (1, 2)
    with pytest.raises(TypeError):
        holder.store([3], ROOT, [(1, 2)] * 4, 4)  # type: ignore[list-item]
