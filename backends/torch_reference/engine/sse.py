"""Server-sent events as OpenAI's API writes them; it must not know what they say."""

from typing import Final

import msgspec

DONE: Final = b"data: [DONE]\n\n"


def encode_event(body: object) -> bytes:
    """Return one event."""
    return b"data: " + msgspec.json.encode(body) + b"\n\n"
