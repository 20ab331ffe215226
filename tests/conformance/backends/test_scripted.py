"""Every case against a scripted engine of every dialect, through a real gateway."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import pytest

import tests.conformance.backends.cases  # noqa: F401 - registers them
from tests.conformance.backends.case import CASES, Result, Status, run
from tests.conformance.backends.declarations import DECLARATIONS
from tests.conformance.backends.scripted import ENGINES, scripted_targets
from tests.conformance.backends.target import Target


@pytest.fixture(scope="session")
def targets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Target]]:
    with scripted_targets(tmp_path_factory.mktemp("conformance")) as found:
        yield found


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", CASES)
def test_case(
    targets: dict[str, Target], engine: str, name: str, record_property: Callable[[str, object], None]
) -> None:
    result = run(CASES[name], targets[engine])
    record_property("conformance", result)
    check(result, targets[engine].declaration.known)


def check(result: Result, known: Mapping[str, str]) -> None:
    """Fail, or skip what was not shown; an engine's own lack is shown by its refusal, which is checked.

    A failure that is known is a failure all the same, in the table and in the summary; but one that has gone is told.
    """
    if result.error is not None and result.case in known:
        pytest.xfail(result.reason)
    if result.error is not None:
        raise result.error
    assert result.case not in known, "this is known to fail, and does not any more: take it out of the declaration"
    if result.status in (Status.NOT_RUN, Status.NOT_SHOWN):
        pytest.skip(result.reason)


def test_every_engine_declares_itself() -> None:
    assert set(DECLARATIONS) == set(ENGINES)


def test_a_scripted_engine_leaves_nothing_unshown(targets: dict[str, Target]) -> None:
    """A skip would hide that a case cannot fail: the scripted engines give all that cases need."""
    needs = {need for each in CASES.values() for need in each.needs}
    assert all(needs <= target.gives for target in targets.values())
