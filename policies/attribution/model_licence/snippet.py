"""The words that a product can show as they are, as text, as HTML and as data; wording and markup are ours, the strings are not."""

from __future__ import annotations

import html
from collections.abc import Sequence

from msgspec import Struct

WORDING = "Powered by {}"

# What a page sets, on the element or above it, to have it in its own colours and type.
_STYLE = (
    "color:var(--moegate-attribution-color,inherit);"
    "font:var(--moegate-attribution-font,inherit);"
    "margin:var(--moegate-attribution-margin,0)"
)
_LINK_STYLE = "color:var(--moegate-attribution-link,inherit)"


class Shown(Struct, frozen=True):
    """A string that must be shown, and where its licence stands."""

    licence: str
    display: str
    url: str | None


class Snippet(Struct, frozen=True):
    """Something ready to be shown; all of it is empty where nothing must be."""

    text: str
    html: str


def snippet(shown: Sequence[Shown]) -> Snippet:
    """Put the strings into words, each once."""
    strings = {each.display: each for each in reversed(shown)}
    ordered = [strings[name] for name in dict.fromkeys(each.display for each in shown)]
    if not ordered:
        return Snippet("", "")
    text = WORDING.format(_listed([each.display for each in ordered]))
    words = WORDING.format(_listed([_marked(each) for each in ordered]))
    # A paragraph of plain text: it is read aloud as it stands, and can be reached by keyboard where it has links.
    return Snippet(text, f'<p class="moegate-attribution" lang="en" style="{_STYLE}">{words}</p>')


def _marked(shown: Shown) -> str:
    name = f'<strong translate="no">{html.escape(shown.display)}</strong>'
    if shown.url is None:
        return name
    return f'<a href="{html.escape(shown.url)}" rel="license noopener" style="{_LINK_STYLE}">{name}</a>'


def _listed(names: Sequence[str]) -> str:
    """The names in a row, with an "and" before the last."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
