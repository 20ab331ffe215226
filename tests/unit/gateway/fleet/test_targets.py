from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway import Target, TargetDocument, TargetListener
from gateway.errors import ConfigError
from gateway.fleet.target_sources import TargetSources
from gateway.fleet.targets import WatchedSource
from gateway.settings import SourceSettings

ONE, TWO = Target(url="http://one"), Target(url="http://two")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Failing:
    """A source that always fails, with what it is given."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.runs: list[float] = []

    async def run(self, listener: TargetListener) -> None:
        self.runs.append(asyncio.get_running_loop().time())
        if self.errors:
            raise self.errors.pop(0)


class Immediate(Failing):
    def now(self) -> Any:
        if self.errors:
            raise self.errors.pop(0)
        return [ONE]


def watched(source: Failing | None = None, clock: Clock | None = None, **settings: Any) -> WatchedSource:
    return WatchedSource("kimi-k2", "told", source or Failing(), SourceSettings(**settings), clock or Clock())


def urls(found: WatchedSource) -> list[str]:
    return [target.url for target in found.listed.targets] if found.listed is not None else []


def document(text: str) -> TargetDocument:
    return TargetDocument(text, "targets.yaml")


def test_a_list_is_another_one_if_something_else_stands_in_it() -> None:
    found = watched()
    found.found([ONE, TWO])
    first = found.listed
    found.found([TWO, ONE])
    assert found.listed is first
    assert found.state("told-0").changes == 0
    found.found([Target(url="http://one", weight=2.0), TWO])
    assert found.listed is not first
    assert found.state("told-0").changes == 1


def test_the_same_target_told_twice_is_one() -> None:
    found = watched()
    found.found([TWO, ONE, ONE, Target(url="http://three", name="x"), Target(url="http://four", name="x")])
    assert sorted(urls(found)) == ["http://four", "http://one", "http://two"]


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ([], "it told of no target at all"),
        (
            [Target(url=f"http://{number}.example") for number in range(4)],
            "it told of 4 targets, more than max_targets",
        ),
        (document("[{}, {}, {}, {}]"), "targets.yaml: 4 targets, more than max_targets (3)"),
        (document("{}"), "targets.yaml: must be a list of replicas"),
        (document("[1, 2"), "targets.yaml: not valid YAML"),
        (document("- {a: 1, a: 2}"), "targets.yaml: [0].a: stands twice (line 1)"),
    ],
)
def test_what_cannot_be_taken_leaves_the_list_as_it_is(told: Any, reason: str) -> None:
    clock = Clock()
    found = watched(clock=clock, max_targets=3)
    found.found([ONE])
    clock.now += 7
    found.found(told)
    state = found.state("told-0")
    assert (state.condition, state.failures, state.targets, state.age_seconds) == ("failing", 1, 1, 7.0)
    assert reason in state.reason
    assert urls(found) == ["http://one"]
    found.found([ONE])
    assert (found.state("").condition, found.state("").reason, found.state("").age_seconds) == ("well", "", 0.0)


def test_an_environment_is_read_only_where_the_source_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOEGATE_SECRET", "x")
    found = watched()
    found.found(document("- {name: '${MOEGATE_SECRET}'}"))
    assert "environment variable MOEGATE_SECRET is not set" in found.state("").reason
    found.found(TargetDocument("- {name: '${MOEGATE_SECRET}'}", "targets.yaml", reads_environment=True))
    assert found.state("").condition == "well"


def test_changes_come_no_more_often_than_wanted_but_the_first_at_once() -> None:
    clock = Clock()
    found = watched(clock=clock, change_seconds=5.0)
    assert found.offer() is None
    found.found([ONE])
    assert found.changed
    found.offer()
    found.accept()
    assert not found.changed
    found.found([TWO])
    clock.now += 4.9
    assert not found.changed
    clock.now += 0.1
    assert found.changed


def test_a_document_that_cannot_be_served_is_not_tried_again_until_it_is_another() -> None:
    clock = Clock()
    found = watched(clock=clock)
    good, bad, better = (document(f"[{text}]") for text in ("{name: a}", "{name: b}", "{name: c}"))
    found.found(good)
    found.offer()
    found.accept()
    served = found.listed
    found.found(bad)
    found.offer()
    found.refuse()
    clock.now += 60
    assert found.listed is served
    assert not found.changed
    assert (found.state("").condition, found.state("").failures) == ("failing", 1)
    found.found(bad)
    assert not found.changed
    assert found.state("").condition == "failing"
    found.found(better)
    assert found.changed
    assert found.state("").condition == "well"


def test_what_was_offered_for_another_fault_is_offered_again() -> None:
    clock = Clock()
    found = watched(clock=clock)
    found.found([ONE])
    found.offer()
    found.accept()
    found.found([TWO])
    found.offer()
    found.withdraw()
    clock.now += 60
    assert found.changed


async def test_failures_are_tried_again_ever_more_slowly() -> None:
    source = Failing(*[RuntimeError("no answer")] * 4)
    found = watched(source)
    found.start()
    found.start()
    await asyncio.sleep(20)  # of virtual time
    await found.aclose()
    pauses = [after - before for before, after in zip(source.runs[:4], source.runs[1:5], strict=True)]
    for pause, least in zip(pauses, (1, 2, 4, 8), strict=True):
        assert least <= pause <= least * 1.1 + 0.5
    assert found.state("").reason == "it ended"
    assert found.state("").condition == "failing"
    assert found.state("").age_seconds is None


async def test_a_pause_is_a_second_at_least_and_a_tenth_longer_at_most() -> None:
    found, loop = watched(), asyncio.get_running_loop()
    for wanted, least in ((0.0, 1.0), (10.0, 10.0)):
        began = loop.time()
        await found.pause(wanted)
        assert least <= loop.time() - began <= least * 1.1 + 0.5


def test_a_source_that_can_tell_at_once_is_asked_once() -> None:
    found = watched(Immediate(ConfigError("it is broken")))
    with pytest.raises(ConfigError, match="it is broken"):
        found.look()
    found.look()
    assert urls(found) == ["http://one"]
    found.found([TWO])
    found.look()
    assert urls(found) == ["http://two"]


def test_what_is_counted() -> None:
    found = watched()
    sources = TargetSources([("told-0", found), ("told-1", watched())])
    found.found([ONE, TWO])
    found.found([ONE])
    found.found([])
    metrics = {metric.name: dict(metric.samples) for metric in sources.metrics()}
    key, other = ("kimi-k2", "told-0"), ("kimi-k2", "told-1")
    assert metrics["moegate_targets_known"] == {key: 1, other: 0}
    assert metrics["moegate_targets_changes"] == {key: 1, other: 0}
    assert metrics["moegate_targets_failures"] == {key: 1, other: 0}
    assert metrics["moegate_targets_age_seconds"] == {key: 0.0}
    assert metrics["moegate_targets_source"][*key, "failing"] == 1.0
    assert metrics["moegate_targets_source"][*other, "starting"] == 1.0
    assert metrics["moegate_targets_source"][*other, "well"] == 0.0


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "ftp://x"},
        {"url": "x"},
        {"url": "http://"},
        {"url": "http://x", "name": "a b"},
        {"url": "http://x", "weight": -1.0},
        {"url": "http://x", "weight": float("nan")},
        {"url": "http://x", "tier": -1},
    ],
)
def test_a_target_that_is_none(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"target|name"):
        Target(**wrong)
