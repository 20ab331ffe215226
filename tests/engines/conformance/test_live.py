"""Every case against every real engine that is installed here, one engine after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

import tests.conformance.backends.cases  # noqa: F401 - registers them
from tests.conformance.backends.case import CASES, Need, run
from tests.conformance.backends.target import Target
from tests.conformance.backends.test_scripted import check
from tests.conformance.results import ABOUT
from tests.engines.conformance.live_engines import LIVE, installed, live_engines

# What needs the scripted engine's door is shown there.
SHOWN = [name for name, case in CASES.items() if Need.DOOR not in case.needs]


@pytest.fixture(scope="module", params=LIVE)
def target(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """One engine at a time: pytest runs all cases of one before it starts the next."""
    name = str(request.param)
    installed(name)
    with live_engines(tmp_path_factory.mktemp(name), name) as engines:
        request.config.stash.setdefault(ABOUT, {})[name] = engines.about(name)
        yield engines.target(name)


@pytest.mark.timeout(1200)  # the first case of an engine waits until it is ready
@pytest.mark.parametrize("name", SHOWN)
def test_case(target: Target, name: str, record_property: Callable[[str, object], None]) -> None:
    result = run(CASES[name], target)
    record_property("conformance", result)
    check(result, target.declaration.known)
