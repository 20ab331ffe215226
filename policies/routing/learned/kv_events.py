"""Reads what engines publish of their prefix caches, in its order, and knows when something was missed; opens no socket."""

from __future__ import annotations

from typing import Any

import msgspec
import structlog
from msgspec import Raw, Struct

from policies.routing.learned.blocks import Blocks, root

log = structlog.get_logger("moegate.kv_events")

# The device's own memory; blocks elsewhere have to be fetched first, which may take as long as reading them again.
_DEVICE = (None, "GPU")
# Of a model whose layers cache differently, each kind has a group of blocks; the first one's stand for all.
_GROUP = (None, 0)

_Name = int | bytes


class _Stored(Struct, frozen=True, tag="BlockStored"):
    """vLLM tells a salt among the first block's `extra_keys`, SGLang as `cache_salt`."""

    block_hashes: list[_Name]
    parent_block_hash: _Name | None
    token_ids: list[Any]
    block_size: int
    lora_id: int | None = None
    lora_name: str | None = None
    medium: str | None = None
    extra_keys: list[list[Any] | None] | None = None
    cache_salt: str | None = None
    group_idx: int | None = None


class _Removed(Struct, frozen=True, tag="BlockRemoved"):
    block_hashes: list[_Name]
    medium: str | None = None
    group_idx: int | None = None


class _Cleared(Struct, frozen=True, tag="AllBlocksCleared"):
    pass


class _Batch(Struct, frozen=True, array_like=True):
    at: float
    events: list[Raw]


_BATCH = msgspec.msgpack.Decoder(_Batch)
_EVENT = msgspec.msgpack.Decoder(_Stored | _Removed | _Cleared)


class Follower:
    """One engine's cache, by its events (`vllm/distributed/kv_events.py`, `sglang/srt/disaggregation/kv_events.py`).

    Attributes:
        holder: what it holds, as far as it has told.
        connected: somebody listens to it. What it told last may be out of date as long as nobody does.
        whole: nothing that it told was missed since its start, or since it last had nothing.
        last: number of the last batch; None before the first.
        batches, gaps, unreadable: counts of those taken, of times that some were missing, of events that could not be read.
    """

    def __init__(self, blocks: Blocks) -> None:
        self.holder = blocks.holder()
        self.connected = False
        self.whole = False
        self.last: int | None = None
        self.batches = self.gaps = self.unreadable = 0
        self._last_batch = b""

    @property
    def mode(self) -> str:
        """`precise`: what it holds is known; `partial`: some of it; `estimated`: not from it."""
        if not self.connected:
            return "estimated"
        return "precise" if self.whole else "partial"

    def take(self, number: int, batch: bytes) -> bool:
        """Take in a batch, unless that was done before; False, and nothing is changed, if some before it are missing."""
        expected = 0 if self.last is None else self.last + 1
        if number < expected:
            return True
        if number > expected:
            return False
        self.last, self._last_batch = number, batch
        self.batches += 1
        self.whole = self.whole or not number
        try:
            events = _BATCH.decode(batch).events
        except msgspec.DecodeError:
            self._give_up("a batch could not be read")
            return True
        for raw in events:
            self._apply(raw)
        return True

    def is_same(self, number: int, batch: bytes) -> bool:
        """Whether this batch is the one that was taken last: if not, another engine counts there now."""
        return number == self.last and batch == self._last_batch

    def begin(self, number: int = 0) -> None:
        """Forget all; the next batch is this one. What the engine held before it is not known, unless it is the first."""
        self.holder.clear()
        self.last = number - 1 if number else None
        self._last_batch = b""
        self.whole = number == 0

    def forget(self) -> None:
        """Forget all, and which batch is the next: another engine may count there now."""
        self.begin()
        self.whole = False

    def _apply(self, raw: Raw) -> None:
        try:
            event = _EVENT.decode(raw)
            if isinstance(event, _Stored):
                self._store(event)
            elif isinstance(event, _Cleared):
                self.holder.clear()
                self.whole = True
            elif event.medium in _DEVICE and event.group_idx in _GROUP:
                for name in event.block_hashes:
                    self.holder.remove(name)
        except (msgspec.DecodeError, TypeError, OverflowError):  # of a kind that was not there when this was written
            self.unreadable += 1

    def _store(self, event: _Stored) -> None:
        if event.medium not in _DEVICE or event.group_idx not in _GROUP:
            return
        holder, names = self.holder, event.block_hashes
        salt, plain = _salt(event)
        if not plain:  # adapters, images: prompts that are no text alone
            holder.unknown += len(names)
            return
        parent = event.parent_block_hash
        holder.store(names, root(salt) if parent is None else holder.link(parent), event.token_ids, event.block_size)

    def _give_up(self, reason: str) -> None:
        self.unreadable += 1
        if self.whole:
            log.warning("an engine's cache is known in part only", reason=reason)
        self.holder.clear()
        self.whole = False


def _salt(event: _Stored) -> tuple[str | None, bool]:
    """The salt, if the blocks begin a prompt; and whether nothing but it and the tokens makes these blocks what they are."""
    extra = [each or () for each in event.extra_keys or ()]
    salt = event.cache_salt
    if (
        event.parent_block_hash is None
        and salt is None
        and extra
        and len(extra[0]) == 1
        and isinstance(extra[0][0], str)
    ):
        salt = extra[0][0]
        extra = extra[1:]
    return salt, event.lora_id is None and event.lora_name is None and not any(extra)
