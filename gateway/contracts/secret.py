"""Strings that are never printed."""

from __future__ import annotations


class Secret:
    """A string from the configuration that is never printed: its repr and str hide it, `reveal` gives it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The string itself."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__
