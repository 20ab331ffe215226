from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway import Replica, Target, TargetListener
from gateway.composition.runtime import Runtime, build_runtime
from gateway.config_file import parse
from gateway.errors import ConfigError
from gateway.registry import Registry
from gateway.shared import SharedObjects
from tests.unit.fakes import FakeResponse
from tests.unit.gateway.in_process import Gateway, config, fake_engines, running
from tests.unit.gateway.plugin_modules import extension, plugin, registry_of

CONFIG = """\
server: {{anonymous: true}}
models:
  - name: kimi-k2
    checkpoint: {{id: moonshotai/Kimi-K2-Instruct, context_length: 131072}}
    replicas: {replicas}
    targets:
      - use: {use}
        replica: {common}
"""

COMMON = "{backend: fake}"


class Told:
    """A source that tells what a test puts into it."""

    def __init__(self) -> None:
        self.lists: asyncio.Queue[Any] = asyncio.Queue()
        self.runs = 0

    async def run(self, listener: TargetListener) -> None:
        self.runs += 1
        while True:
            told = await self.lists.get()
            if isinstance(told, Exception):
                raise told
            listener.found(told)


def registry(told: Told | None = None) -> Registry:
    return registry_of(
        fake_engines(),
        plugin(moegate_target_sources=lambda: [extension("told", told or Told())]),
        built_ins=("plugins.discovery_file",),
    )


async def built(use: str, *, replicas: str = "[]", common: str = COMMON, registered: Registry | None = None) -> Runtime:
    text = CONFIG.format(use=use, replicas=replicas, common=common)
    return await build_runtime(parse(text, {}), registered or registry(), SharedObjects())


async def problems(use: str, **changes: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        await built(use, **changes)
    return list(caught.value.problems)


def file(folder: Path, text: str) -> str:
    (folder / "targets.yaml").write_text(text)
    return f"file\n        path: {folder}/targets.yaml"


def replicas(runtime: Runtime) -> dict[str, Replica]:
    return {each.name: each for each in runtime.fleet.replicas()}


async def test_what_stands_in_a_file_comes_after_the_model_s_own(tmp_path: Path) -> None:
    text = "- {name: b, url: 'http://b', weight: 3}\n- {name: c, url: 'http://c', backend: fake}\n"
    runtime = await built(file(tmp_path, text), replicas="[{name: a, backend: fake, url: 'http://a'}]")
    assert list(replicas(runtime)) == ["a", "b", "c"]
    assert [each.weight for each in runtime.fleet.replicas()] == [1.0, 3.0, 1.0]
    await runtime.stop()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("- name: b\n  url: 'http://b'\n  backend: vlm\n", "targets.yaml: [0].backend: nothing is registered as 'vlm'"),
        ("- {name: b, url: 'http://b'}\n- name: c\n  url: 'ftp://c'\n", "targets.yaml: [1].url: the URL must start"),
        ("- {name: b, url: 'http://b', port: 3}\n", "targets.yaml: [0].port: unknown setting"),
        ("- {name: a, url: 'http://b'}\n", "targets.yaml: [0].name: 'a' is the name of another replica"),
        ("- {name: b, url: '${NOT_SET_AT_ALL}'}\n", "targets.yaml: [0].url: environment variable NOT_SET_AT_ALL"),
        ("[1]", "targets.yaml: [0]: expected a mapping"),
        ("{not: a list}", "targets.yaml: must be a list of replicas"),
        ("[", "targets.yaml: not valid YAML"),
    ],
)
async def test_a_fault_in_a_file_names_the_file_and_its_line(tmp_path: Path, text: str, expected: str) -> None:
    (found,) = await problems(file(tmp_path, text), replicas="[{name: a, backend: fake, url: 'http://a'}]")
    assert expected in found
    line = 1 + next((at for at, each in enumerate(text.splitlines()) if "vlm" in each or "ftp" in each), 0)
    assert "must be a list" in found or f"(line {line})" in found


async def test_a_file_that_is_not_there_is_a_fault(tmp_path: Path) -> None:
    (found,) = await problems(f"file\n        path: {tmp_path}/gone.yaml")
    assert found == f"{tmp_path}/gone.yaml: cannot be read: No such file or directory"


async def test_a_model_needs_a_replica_once_all_its_sources_have_told(tmp_path: Path) -> None:
    assert await problems(file(tmp_path, "[]")) == ["models[0].targets: a model needs at least one replica (line 6)"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"use": "tlod"}, "models[0].targets[0].use: nothing is registered as 'tlod' in target_sources; did you mean"),
        ({"use": "told\n        size: 3"}, "models[0].targets[0].size: unknown setting"),
        ({"use": "told\n        max_targets: 0"}, "models[0].targets[0].max_targets: expected"),
        ({"common": "{}"}, "models[0].targets[0].replica.backend: missing"),
        ({"common": "{backend: vlm}"}, "models[0].targets[0].replica.backend: nothing is registered as 'vlm'"),
        ({"common": "{backend: fake, url: x}"}, "models[0].targets[0].replica.url: each replica's address"),
        ({"common": "{backend: fake, options: {a: 1}}"}, "models[0].targets[0].replica.options.a: unknown setting"),
    ],
)
async def test_faults_of_a_source_are_found_before_it_has_told_anything(changes: dict[str, str], expected: str) -> None:
    (found,) = await problems(changes.pop("use", "told"), **changes)
    assert found.startswith(expected)
    assert "(line " in found


async def shortly(condition: Callable[[], bool]) -> None:
    """Let virtual time pass until something has happened."""
    for _ in range(100):
        if condition():
            return
        await asyncio.sleep(0.2)
    raise AssertionError("it never happened")


async def start(gateway: Gateway, told: Told, *targets: Target) -> None:
    await told.lists.put(targets)
    await shortly(lambda: gateway.runtime.fleet.sources.changed)
    await reload(gateway)


async def reload(gateway: Gateway) -> None:
    """What the application does when sources have changed."""
    old = gateway.runtime
    gateway.runtime = await gateway.build(SETTINGS)
    gateway.runtime.fleet.sources.accept()
    gateway.runtime.start()
    while gateway.runtime.fleet.not_ready():
        await gateway.runtime.fleet.wait_for_change()
    gateway.edge.current = gateway.runtime
    old.fleet.part(gateway.runtime.fleet)
    await old.retire()


SETTINGS = config(replicas=[])
SETTINGS["models"][0]["targets"] = [{"use": "told", "replica": {"name": "gpu", "backend": "fake", "max_concurrent": 7}}]


async def test_a_model_starts_without_replicas_and_gets_them_from_a_stranger_s_source() -> None:
    told = Told()
    brings = plugin(moegate_target_sources=lambda: [extension("told", told)])
    reply = FakeResponse(pieces=[b"{}"])
    async with running(brings, replies=(reply,)) as gateway:
        await gateway.runtime.stop()
        gateway.runtime = await gateway.build(SETTINGS)
        gateway.runtime.start()
        gateway.edge.current = gateway.runtime
        answer = await gateway.ask()
        assert (answer.status, answer.error["code"]) == (503, "no_replica_available")
        assert "has been found yet" in answer.error["message"]
        assert gateway.runtime.fleet.not_ready() == {"kimi-k2": ["starting: no replica has been found yet"]}
        (state,) = gateway.runtime.fleet.target_sources()
        assert (state.source, state.condition, state.age_seconds) == ("told-0", "starting", None)
        await start(gateway, told, Target(url="http://x", name="pod-1", weight=2.0, tier=1, labels={"zone": "z"}))
        (replica,) = gateway.runtime.fleet.replicas()
        assert (replica.name, replica.url, replica.max_concurrent) == ("gpu-pod-1", "http://x", 7)
        assert (replica.weight, replica.tier, replica.labels) == (2.0, 1, {"zone": "z"})
        assert (await gateway.ask()).status == 200
        assert gateway.asked == ["x"]
        assert told.runs == 1


async def test_what_leaves_is_drained_and_what_stays_is_the_same_replica_with_its_new_weight() -> None:
    told = Told()
    brings = plugin(moegate_target_sources=lambda: [extension("told", told)])
    async with running(brings) as gateway:
        await gateway.runtime.stop()
        gateway.runtime = await gateway.build(SETTINGS)
        gateway.runtime.start()
        await start(gateway, told, Target(url="http://x"), Target(url="http://y"))
        before = {each.url: each for each in gateway.runtime.fleet.replicas()}
        assert all(re.fullmatch(r"gpu-[0-9a-f]{8}", each.name) for each in before.values())
        await start(gateway, told, Target(url="http://y", weight=5.0), Target(url="http://z"))
        after = {each.url: each for each in gateway.runtime.fleet.replicas()}
        assert list(after) == ["http://y", "http://z"]
        assert after["http://y"] is before["http://y"]
        assert after["http://y"].weight == 5.0
        assert (before["http://x"].drained, before["http://x"].state) == (True, "draining")
        assert not after["http://y"].drained
        await start(gateway, told, Target(url="http://x"), Target(url="http://y"))
        assert {each.state for each in gateway.runtime.fleet.replicas()} == {"ready"}


async def test_where_nobody_stays_calls_that_wait_are_not_left_without_anybody() -> None:
    told = Told()
    brings = plugin(moegate_target_sources=lambda: [extension("told", told)])
    async with running(brings) as gateway:
        await gateway.runtime.stop()
        gateway.runtime = await gateway.build(SETTINGS)
        gateway.runtime.start()
        await start(gateway, told, Target(url="http://x"))
        (left,) = gateway.runtime.fleet.replicas()
        await start(gateway, told, Target(url="http://y"))
        assert (left.drained, left.state) == (False, "ready")


async def test_a_source_that_fails_changes_nothing() -> None:
    told = Told()
    brings = plugin(moegate_target_sources=lambda: [extension("told", told)])
    async with running(brings) as gateway:
        await gateway.runtime.stop()
        gateway.runtime = await gateway.build(SETTINGS)
        gateway.runtime.start()
        await start(gateway, told, Target(url="http://x"), Target(url="http://y"))
        fleet = gateway.runtime.fleet
        for wrong in (RuntimeError("no answer"), [], "nonsense"):
            failures = fleet.target_sources()[0].failures
            await told.lists.put(wrong)
            await shortly(lambda: fleet.target_sources()[0].failures > failures)  # noqa: B023 - it is waited for here
            (state,) = fleet.target_sources()
            assert (state.condition, state.targets) == ("failing", 2)
            assert not fleet.sources.changed


async def test_two_targets_of_one_name_are_one() -> None:
    told = Told()
    brings = plugin(moegate_target_sources=lambda: [extension("told", told)])
    async with running(brings) as gateway:
        await gateway.runtime.stop()
        gateway.runtime = await gateway.build(SETTINGS)
        gateway.runtime.start()
        await start(gateway, told, Target(url="http://x", name="p"), Target(url="http://y", name="p"))
        assert list(replicas(gateway.runtime)) == ["gpu-p"]
