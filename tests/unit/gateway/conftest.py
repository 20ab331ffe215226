"""Tests of the core run on a virtual clock, where a pause of a minute takes no time; and may install strangers' plugins."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.unit.virtual_time import VirtualTimeLoop


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"virtual": VirtualTimeLoop}


@pytest.fixture
def distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Puts a distribution with an entry point on the path, as `pip install` would."""
    monkeypatch.syspath_prepend(tmp_path)
    made: list[str] = []

    def make(module: str, source: str, *names: str, version: str = "1.2.3") -> None:
        (tmp_path / f"{module}.py").write_text(source)
        info = tmp_path / f"{module}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: {version}\n")
        points = "".join(f"{name} = {module}\n" for name in names or (module,))
        (info / "entry_points.txt").write_text(f"[moegate]\n{points}")
        made.append(module)

    yield make
    for module in made:
        sys.modules.pop(module, None)
