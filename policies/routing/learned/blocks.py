"""Which engine holds which block of tokens, as the engines' own events say; blocks by chained hashes of ours, in bounded memory."""

from __future__ import annotations

from array import array
from collections.abc import Hashable, Sequence

from policies.routing.learned.prefixes import Matches

# A token id as it is hashed: its four bytes.
_TYPE = "I"
_WIDTH = array(_TYPE).itemsize


def root(salt: str | None) -> int:
    """Where the chain of a prompt begins; prompts with different salts share nothing."""
    return hash(("blocks", salt))


def links_of(tokens: Sequence[int], block_tokens: int, link: int) -> array[int]:
    """The hashes of whole blocks that follow one another, each with all before it; `link` is the hash of what is before them.

    Bytes are hashed with a key that is new in each process (see `chain`), so that no client can make up a collision.

    Raises:
        TypeError, OverflowError: these are no token ids.
    """
    data = array(_TYPE, tokens).tobytes()
    step = block_tokens * _WIDTH
    found = array("q")
    for at in range(0, len(data) - step + 1, step):
        link = hash((link, data[at : at + step]))
        found.append(link)
    return found


class Blocks:
    """Every engine's blocks in one index.

    Args:
        most: blocks that are remembered, of all engines together, some 200 bytes each. What comes beyond is left out: it is
            then taken for not held.

    Attributes:
        size: how many there are.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.size = 0
        # By block, for each holder two bits: whether its engine holds it, and whether a prompt that has it is on its way.
        self.holding: dict[int, int] = {}
        self._places: list[bool] = []

    def holder(self) -> Holder:
        """A new engine, which holds nothing yet."""
        place = self._places.index(False) if False in self._places else len(self._places)
        self._places[place : place + 1] = [True]
        return Holder(self, place)

    def give_back(self, place: int) -> None:
        """A holder is gone for good, and has forgotten all."""
        self._places[place] = False

    def match(self, links: Sequence[int]) -> Matches:
        """How many blocks of a prompt's beginning are held, and by whom (see `Holder.bit`), longest first."""
        holding = self.holding
        found: Matches = []
        alive = -1
        for count, link in enumerate(links):
            mask = holding.get(link, 0)
            left = alive & (mask | mask >> 1)
            if left != alive:
                if count:
                    found.append((count, alive))
                alive = left & self._firsts()
                if not alive:
                    break
        else:
            if links:
                found.append((len(links), alive))
        found.reverse()
        return found

    def _firsts(self) -> int:
        """The first bits of all holders."""
        return ((1 << 2 * len(self._places)) - 1) // 3


class Holder:
    """What one engine holds. Its blocks have names of the engine's making, by which it tells of them.

    Attributes:
        bit: stands for it in `Blocks.match`.
        block_tokens: tokens of a block; 0 until it has told.
        unknown: blocks that it told of and that could not be placed: their beginning was never told, or there was no room.
    """

    __slots__ = ("_blocks", "_links", "_on_way", "_place", "bit", "block_tokens", "unknown")

    def __init__(self, blocks: Blocks, place: int) -> None:
        self._blocks = blocks
        self._place = place
        self._links: dict[Hashable, int] = {}
        self._on_way: dict[int, int] = {}
        self.bit = 1 << 2 * place
        self.block_tokens = 0
        self.unknown = 0

    def __len__(self) -> int:
        return len(self._links)

    def store(self, names: Sequence[Hashable], after: int | None, tokens: Sequence[int], block_tokens: int) -> None:
        """It holds these blocks, which follow one another; `after` is what `link` said of the one before them."""
        if (
            after is None
            or len(tokens) != len(names) * block_tokens
            or (self.block_tokens or block_tokens) != block_tokens
        ):
            self.unknown += len(names)
            return
        self.block_tokens = block_tokens
        blocks, holding, links = self._blocks, self._blocks.holding, self._links
        link = after
        for name, computed in zip(names, links_of(tokens, block_tokens, after), strict=True):
            link = computed
            if links.get(name) == link:
                continue
            if blocks.size >= blocks.most:
                self.unknown += 1
                continue
            self.remove(name)
            links[name] = link
            blocks.size += 1
            holding[link] = holding.get(link, 0) | self.bit

    def link(self, name: Hashable) -> int | None:
        """What follows a block begins from this; None if it is not known."""
        return self._links.get(name)

    def remove(self, name: Hashable) -> None:
        """It holds that block no more. Of two blocks with the same tokens an engine may keep one: it is forgotten too."""
        link = self._links.pop(name, None)
        if link is not None:
            self._blocks.size -= 1
            self._unset(link, self.bit)

    def clear(self) -> None:
        """It holds nothing."""
        for link in self._links.values():
            self._unset(link, self.bit)
        self._blocks.size -= len(self._links)
        self._links.clear()
        self.block_tokens = self.unknown = 0

    def close(self) -> None:
        """It is no more; nothing is to be asked of it."""
        self.clear()
        for link in self._on_way:
            self._unset(link, self.bit << 1)
        self._on_way.clear()
        self._blocks.give_back(self._place)

    def expect(self, links: Sequence[int]) -> None:
        """A prompt with these blocks is on its way: until `arrived` it counts as held, for the engine tells of it too late."""
        holding, on_way, bit = self._blocks.holding, self._on_way, self.bit << 1
        for link in links:
            on_way[link] = on_way.get(link, 0) + 1
            holding[link] = holding.get(link, 0) | bit

    def arrived(self, links: Sequence[int]) -> None:
        """The same is over; whatever of it the engine holds now, it has told."""
        on_way, bit = self._on_way, self.bit << 1
        for link in links:
            count = on_way.get(link, 0)
            if count > 1:
                on_way[link] = count - 1
            elif count:
                del on_way[link]
                self._unset(link, bit)

    def _unset(self, link: int, bit: int) -> None:
        holding = self._blocks.holding
        left = holding.get(link, 0) & ~bit
        if left:
            holding[link] = left
        else:
            holding.pop(link, None)
