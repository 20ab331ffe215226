"""Finds stop strings in text that comes in pieces and holds back what may become one; it must not know about tokens."""


def partial_match_length(text: str, words: tuple[str, ...]) -> int:
    """Return the length of the longest end of `text` that begins one of the words without completing it."""
    longest = min(len(text), max(len(word) for word in words) - 1)
    for length in range(longest, 0, -1):
        tail = text[-length:]
        if any(len(word) > length and word.startswith(tail) for word in words):
            return length
    return 0


class StopStrings:
    """The watch for one sequence's stop strings."""

    def __init__(self, stops: tuple[str, ...]) -> None:
        """Watch for these strings; none is empty."""
        self._stops = stops
        self._held = ""

    def feed(self, text: str) -> tuple[str, bool]:
        """Return the text that may be shown now, and whether a stop string ended it."""
        if not self._stops:
            return text, False
        pending = self._held + text
        found = [position for stop in self._stops if (position := pending.find(stop)) >= 0]
        if found:
            self._held = ""
            return pending[: min(found)], True
        boundary = len(pending) - partial_match_length(pending, self._stops)
        self._held = pending[boundary:]
        return pending[:boundary], False

    def finish(self) -> str:
        """Return what was held back: the text is over, so it became no stop string."""
        held, self._held = self._held, ""
        return held
