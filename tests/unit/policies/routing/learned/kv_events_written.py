"""KV events as vLLM and SGLang write them."""

from __future__ import annotations

from typing import Any

import msgspec

BLOCK_TOKENS = 4

Event = dict[str, Any]


def stored(names: list[int], tokens: list[int], parent: int | None = None, **more: Any) -> Event:
    """An engine stored blocks of four tokens each, under these names."""
    event = {
        "type": "BlockStored", "block_hashes": names, "parent_block_hash": parent, "token_ids": tokens,
        "block_size": BLOCK_TOKENS, "lora_id": None, "medium": "GPU", "lora_name": None, "group_idx": 0,
    }  # fmt: skip
    return event | more


def removed(*names: int, **more: Any) -> Event:
    """It keeps these no more."""
    return {"type": "BlockRemoved", "block_hashes": list(names), "medium": "GPU", "group_idx": 0} | more


CLEARED: Event = {"type": "AllBlocksCleared"}


def batch(*events: Any) -> bytes:
    """All that happened in one step."""
    return msgspec.msgpack.encode([1_700_000_000.5, list(events), 0])
