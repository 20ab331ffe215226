"""Learns how an engine writes around its text, so that an event which differs in nothing but text is known by its ends.

Engines write thousands of events that differ in one string. What stands before that string and after it is a proof:
an event with the same ends and no quote between them holds the same fields, so it needs neither search nor decoding.
"""

from __future__ import annotations

# A quote in a JSON string has a backslash before it, so these are keys, and what follows each is a string's beginning.
_KEYS = (b'"content":"', b'"text":"', b'"reasoning_content":"', b'"reasoning":"', b'"arguments":"')


class Frame:
    """The ends of an event as the engine writes them.

    Attributes:
        shown_head: what the client sees before the text; None where it is the same.
        least: bytes that the two ends have together.
    """

    __slots__ = ("head", "head_length", "least", "shown_head", "tail", "tail_length")

    def __init__(self, head: bytes, tail: bytes, shown_head: bytes | None) -> None:
        self.head, self.tail, self.shown_head = head, tail, shown_head
        self.head_length, self.tail_length = len(head), len(tail)
        self.least = len(head) + len(tail)


# What no event begins with.
NOTHING_LEARNT = Frame(b"\0", b"\0", None)


def learn(event: bytes, shown: bytes) -> Frame | None:
    """The frame of one event whose fields mean nothing but its text; None if it has none that the client's version shares.

    Args:
        event: as the engine wrote it, tightly.
        shown: what the client sees, which holds the text once at most.
    """
    for key in _KEYS:
        at = event.find(key)
        if at > 0 and event[at - 1] != ord("\\"):
            break
    else:
        return None
    start = at + len(key)
    end = _end_of_string(event, start)
    if end < 0 or not shown.endswith(event[start:]):
        return None
    head, shown_head = event[:start], shown[: len(shown) - len(event) + start]
    if not shown_head.endswith(b'":"'):  # then other text stands before this one in the client's string
        return None
    return Frame(head, event[end:], shown_head if shown_head != head else None)


def is_plain_text(text: bytes) -> bool:
    """Whether what stands between the ends is all inside the string: every quote in it has a backslash before it.

    If one of those ended the string all the same (its backslash being escaped itself), then the next quote would be the
    first of the tail, and would begin a string where a tail has none: such an event is no JSON.
    """
    return text.count(b'"') == text.count(b'\\"')


def _end_of_string(event: bytes, start: int) -> int:
    """Where the quote is that ends a string; -1 if it has no end."""
    while (at := event.find(b'"', start)) >= 0:
        before = event[start:at]
        if (len(before) - len(before.rstrip(b"\\"))) % 2 == 0:
            return at
        start = at + 1
    return -1
