"""Faults in terms that types do not show; every one with the path of what it blames, so that files and bodies can be mended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from plugins.tenants.model import Terms

Path = tuple[str | int, ...]
Problem = tuple[Path, str]


def render(path: Path) -> str:
    """Write a path the way people do: `tenants[0].limits[1].every`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def problems_of(terms: Terms, path: Path = ()) -> Iterator[Problem]:
    """What is wrong with the terms of one level."""
    yield from doubles([limit.name for limit in terms.limits], (*path, "limits"), "name")
    for index, limit in enumerate(terms.limits):
        for field, text in limit.problems():
            yield (*path, "limits", index, field), text


def doubles(names: Sequence[str], path: Path, field: str) -> Iterator[Problem]:
    """Names that stand twice in a list."""
    seen: set[str] = set()
    for index, name in enumerate(names):
        if name in seen:
            yield (*path, index, field), f"{name!r} stands twice"
        seen.add(name)
