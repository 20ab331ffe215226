"""Where a prompt can be cut so that longer ones which begin like it are cut there too, and what hash it has up to each place."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from gateway import Call, Operation

# Up to the first number of bytes, in steps of the second: fine where prompts are short, coarse where there is much to do.
# What comes after the last is not looked at.
STEPS = ((8_192, 512), (65_536, 2_048), (262_144, 8_192))
_GRID = tuple(
    place
    for (start, (end, step)) in zip((0, STEPS[0][0], STEPS[1][0]), STEPS, strict=True)
    for place in range(start + step, end + 1, step)
)

# The next turn adds an answer and what came back from its tools: so far back a prompt's messages may be another's last.
LAST_MESSAGES = 8
_FARTHEST_BYTES = 65_536
_KEY = b'"role"'
_END = -1

# Of each operation, what stands before the conversation in the prompt, and the conversation.
_PARTS: dict[Operation, tuple[tuple[str, ...], str]] = {
    Operation.CHAT: (("tools",), "messages"),
    Operation.COMPLETIONS: ((), "prompt"),
    Operation.RESPONSES: (("tools", "instructions"), "input"),
    Operation.MESSAGES: (("tools", "system"), "messages"),
    Operation.COUNT_TOKENS: (("tools", "system"), "messages"),
    Operation.TOKENIZE: (("tools",), "messages"),
}


class Chain(Struct, frozen=True):
    """A prompt's places, from its beginning on.

    Attributes:
        links: per place, the hash of all before it and how many bytes that is, ascending.
        ends: the same of places where a message ends, but not of all: of the last few.
        size: bytes of the whole prompt.
    """

    links: Sequence[tuple[int, int]]
    ends: Sequence[tuple[int, int]]
    size: int


def chain(call: Call, owner: str) -> Chain:
    """Cut a call's prompt; `owner` is hashed with it, so that nobody shares places with another.

    Python's own hash of bytes is keyed anew in each process, so that nobody can make up a prompt that collides; if two
    do, a call is sent where its prefix is not, and that is all.
    """
    heads, name = _PARTS[call.operation]
    fields = call.fields
    head = [bytes(fields[each]) for each in heads if each in fields]
    body = bytes(fields[name]) if name in fields else b""
    before = sum(map(len, head))
    link = hash((call.model.name, owner, *head))
    # Every place of the grid that lies in the body, after its beginning.
    links = [(link, before)]
    start, size = 0, len(body)
    for place in _GRID:
        if place >= size:  # the last bytes are brackets that close the list; a longer prompt goes on otherwise
            break
        link = hash((link, body[start:place]))
        links.append((link, before + place))
        start = place
    ends = _ends(body, links, before)
    if not before:
        del links[0]
    return Chain(links, ends, before + size)


def _ends(body: bytes, links: list[tuple[int, int]], before: int) -> list[tuple[int, int]]:
    """The ends of the last messages, each linked to the last place of the grid before it."""
    at = len(body.rstrip(b"] \t\r\n"))
    if at == len(body) or at == 0:  # no list: a text, which ends with its quote
        at = max(len(body) - 1, 0)
    found: list[tuple[int, int]] = []
    farthest = max(at - _FARTHEST_BYTES, 0)
    grid = len(links) - 1
    link, start = links[grid]
    start -= before
    for _ in range(LAST_MESSAGES):
        if not 0 < at <= STEPS[-1][0]:
            break
        while grid and start >= at:
            grid -= 1
            link, start = links[grid]
            start -= before
        found.append((hash((link, _END, body[start:at])), before + at))
        key = body.rfind(_KEY, farthest, at)
        if key <= 0:
            break
        # The message that this key belongs to begins with it more often than not; the one before ends at a brace.
        at = body.rfind(b"}", key - 32 if key > 32 else 0, key) + 1  # noqa: PLR2004
    found.reverse()
    return found
