"""Whether a page's text shows a string; does not run scripts, and does not fetch anything."""

from __future__ import annotations

import re
from html.parser import HTMLParser

_UNSEEN = frozenset({"script", "style", "template", "noscript", "title"})
# What stands within a line: a string may go on over these, and over nothing else.
_INLINE = frozenset({"a", "abbr", "b", "bdi", "cite", "code", "em", "i", "mark", "q", "s", "small", "span", "strong", "sub",
                     "sup", "u", "wbr"})  # fmt: skip


def holds(text: str, string: str, *, html: bool = True) -> bool:
    """Whether a page shows a string in one piece; "Kimi K2.5" does not show "Kimi K2".

    What a script puts there, what a style hides, and how prominent it is, is not seen.
    """
    pieces = _pieces(text) if html else text.splitlines()
    words = r"\s+".join(re.escape(word) for word in string.split())
    wanted = re.compile(rf"(?<![\w.-]){words}(?![\w-]|\.\w)")
    return any(wanted.search(piece) for piece in pieces)


class _Text(HTMLParser):
    """Collects what stands in a page, a piece a block."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[list[str]] = [[]]
        self._unseen = 0

    def handle_starttag(self, tag: str, _: object) -> None:
        self._unseen += tag in _UNSEEN
        self._border(tag)

    def handle_endtag(self, tag: str) -> None:
        self._unseen = max(self._unseen - (tag in _UNSEEN), 0)
        self._border(tag)

    def handle_startendtag(self, tag: str, _: object) -> None:
        self._border(tag)

    def handle_data(self, data: str) -> None:
        if not self._unseen:
            self.pieces[-1].append(data)

    def _border(self, tag: str) -> None:
        if tag not in _INLINE and self.pieces[-1]:
            self.pieces.append([])


def _pieces(text: str) -> list[str]:
    parser = _Text()
    parser.feed(text)
    parser.close()
    return ["".join(piece) for piece in parser.pieces]
