"""What all unit tests share: a log that is cheap to write, crashes included, and generated tests that no busy machine fails."""

from __future__ import annotations

from collections.abc import Iterator

import hypothesis
import pytest
import structlog

# How long an example takes says how busy the machine is, and nothing of what is tested.
hypothesis.settings.register_profile(
    "moegate", deadline=None, max_examples=60, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("moegate")


@pytest.fixture(scope="session", autouse=True)
def plain_log() -> Iterator[None]:
    """structlog's default draws every local variable around a crash, which takes a second each time."""
    structlog.configure(processors=[structlog.processors.format_exc_info, structlog.processors.KeyValueRenderer()])
    yield
    structlog.reset_defaults()
