"""What all unit tests share: a log that is cheap to write, crashes included."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture(scope="session", autouse=True)
def plain_log() -> Iterator[None]:
    """structlog's default draws every local variable around a crash, which takes a second each time."""
    structlog.configure(processors=[structlog.processors.format_exc_info, structlog.processors.KeyValueRenderer()])
    yield
    structlog.reset_defaults()
