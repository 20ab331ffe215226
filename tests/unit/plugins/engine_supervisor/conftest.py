from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from plugins.engine_supervisor import process, records
from tests.unit.plugins.engine_supervisor.engines import Switchboard, switchboard


@pytest.fixture
async def board(tmp_path: Path) -> AsyncIterator[Switchboard]:
    async with switchboard(tmp_path) as board:
        yield board


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Restarts wait for hundredths of seconds where in earnest they wait for seconds."""
    monkeypatch.setattr(process, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(process, "LONGEST_PAUSE_SECONDS", 0.04)
    monkeypatch.setattr(records, "LOOK_SECONDS", 0.01)
