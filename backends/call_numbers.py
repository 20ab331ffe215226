"""Numbers tool calls as Kimi does, whatever ids a client gave them, and puts results into the order of their calls.

Kimi's template prints ids into the prompt, matches results to calls by their order alone, and has seen no other form in
training than `functions.NAME:IDX` with an index that counts through the whole conversation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Raw

from backends.parameters import NULL, decoded
from backends.request_edit import encode

Fields = dict[str, Raw]


class CallNumbers:
    """Gives calls their numbers as they come, and finds the calls that results belong to.

    Attributes:
        index: how many calls there were.
        client_ids: per id that was given out in place of another, that other.
        renamed: whether any id was.
    """

    def __init__(self) -> None:
        self.index = 0
        self.client_ids: dict[str, str] = {}
        self.renamed = False
        self._turn: list[tuple[str | None, str]] = []
        self._answered: set[int] = set()
        self._latest: dict[str, str] = {}

    def begin_turn(self) -> None:
        """The results that follow belong to the calls that come now."""
        self._turn = []
        self._answered = set()

    def call(self, fields: Fields, id_field: str, name: Any) -> None:
        """Number one call; one without a name keeps its id, and is counted, because engines count it."""
        client_id = decoded(fields.get(id_field, NULL))
        known = client_id if isinstance(client_id, str) else None
        number = f"functions.{name}:{self.index}" if isinstance(name, str) else known
        self.index += 1
        if number is None:
            return
        self._turn.append((known, number))
        if known is not None:
            self._latest[known] = number
        if number != known:
            fields[id_field] = Raw(encode(number))
            self.renamed = True
            if known is not None:
                self.client_ids[number] = known

    def result(self, fields: Fields, id_field: str) -> int | None:
        """Let one result name its call by the number; return that call's place in its turn, None if it is of no call of it."""
        client_id = decoded(fields.get(id_field, NULL))
        if not isinstance(client_id, str):
            return None
        place = self._unanswered(lambda known, _: known == client_id)
        number = self._turn[place][1] if place is not None else self._latest.get(client_id)
        if number is None:  # no call came with this id, but one of the turn has it now
            place = self._unanswered(lambda _, number: number == client_id)
        if place is not None:
            self._answered.add(place)
        if number is not None and number != client_id:
            fields[id_field] = Raw(encode(number))
            self.renamed = True
        return place

    def _unanswered(self, fits: Callable[[str | None, str], bool]) -> int | None:
        """The place in the turn of the first call that fits, by the client's id and by its number, and has no result yet."""
        return next(
            (at for at, call in enumerate(self._turn) if at not in self._answered and fits(*call)),
            None,
        )


class Results:
    """Results that stand together, to be put into the order of their calls; what is no known call's stays where it is."""

    def __init__(self) -> None:
        self._places: list[tuple[int, int]] = []

    def add(self, position: int, place: int | None) -> None:
        """Take one in."""
        if place is not None:
            self._places.append((place, position))

    def reorder(self, items: list[Any]) -> bool:
        """Put them into order; say whether that changed anything. There is nothing left to order afterwards."""
        ordered = [position for _, position in sorted(self._places)]
        positions = sorted(ordered)
        self._places = []
        if ordered == positions:
            return False
        moved = [items[position] for position in ordered]
        for position, item in zip(positions, moved, strict=True):
            items[position] = item
        return True
