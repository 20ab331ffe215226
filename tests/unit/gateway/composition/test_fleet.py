from __future__ import annotations

from typing import Any

import pytest

from gateway import Backend, LaunchPlan, LaunchSettings
from gateway.errors import ConfigError
from gateway.fleet.pool import Member
from tests.unit.fakes import FakeBackend, FakeResponse
from tests.unit.gateway.in_process import Gateway, config, replica, running
from tests.unit.gateway.plugin_modules import extension, plugin


def member(gateway: Gateway, number: int = 0) -> Member:
    return gateway.runtime.fleet.members()[number]


async def test_a_url_becomes_an_origin_and_a_base_path() -> None:
    settings = config(replicas=[replica("a", url="https://engine.example:8443/team/k2/")])
    async with running(settings=settings, replies=(FakeResponse(pieces=[b"{}"]),)) as gateway:
        found = member(gateway)
        assert (found.origin.scheme, found.origin.host, found.origin.port) == ("https", "engine.example", 8443)
        assert found.replica.url == "https://engine.example:8443/team/k2"
        await gateway.ask()
    assert gateway.connections.sent[0].target == b"/team/k2/generate"


async def test_a_url_that_holds_the_path_of_the_api_already_is_refused() -> None:
    settings = config(replicas=[replica("a", url="http://127.0.0.1:8031/v1/")])
    with pytest.raises(ConfigError, match=r"models\[0\]\.replicas\[0\]\.url: must not end in /v1"):
        async with running(settings=settings):
            pass


async def test_a_replica_takes_from_its_model_what_it_does_not_say_itself() -> None:
    own = {"id": "own", "context_length": 4_096, "weight_format": "int4"}
    settings = config(
        replicas=[
            replica("plain"),
            replica("own", checkpoint=own, served_model="k2-own", max_concurrent=3),
            replica("short", context_length=2_048),
        ]
    )
    async with running(settings=settings) as gateway:
        plain, other, short = (each.replica for each in gateway.runtime.fleet.members())
    assert (plain.checkpoint.id, plain.served_model, plain.context_length) == (
        "moonshotai/Kimi-K2-Instruct",
        "kimi-k2",
        131_072,
    )
    assert (other.checkpoint.id, other.served_model, other.context_length, other.max_concurrent) == (
        "own",
        "k2-own",
        4_096,
        3,
    )
    assert (short.checkpoint.id, short.context_length) == ("moonshotai/Kimi-K2-Instruct", 2_048)


async def test_an_engine_s_own_key_goes_with_every_request_and_is_shown_nowhere() -> None:
    settings = config(replicas=[replica("a", api_key="hunter2"), replica("b")])
    async with running(settings=settings, replies=(FakeResponse(503), FakeResponse(pieces=[b"{}"]))) as gateway:
        answer = await gateway.ask()
        first, second = gateway.connections.sent
        assert b"authorization: bearer hunter2" in first.prepared.lower()
        assert b"authorization" not in second.prepared.lower()
        assert "hunter2" not in f"{answer.header_list} {member(gateway).replica!r} {gateway.runtime.settings!r}"


@pytest.mark.parametrize("key", ["two\nlines", "caf\u00e9 \u2603\r\nx: y"])
async def test_a_key_that_no_header_can_hold_is_refused_and_not_shown(key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        async with running(settings=config(replicas=[replica("a", api_key=key)])):
            pass
    (problem,) = caught.value.problems
    assert problem.startswith("models[0].replicas[0].api_key: ")
    assert key.split(maxsplit=1)[0] not in problem


async def test_timeouts_are_the_model_s() -> None:
    settings = config()
    settings["models"][0]["timeouts"] = {"first_byte_seconds": 7}
    async with running(settings=settings) as gateway:
        timeouts = member(gateway).timeouts
    assert (timeouts.connect_seconds, timeouts.first_byte_seconds, timeouts.idle_seconds) == (2.0, 7.0, 120.0)


@pytest.mark.parametrize(
    ("model", "own", "expected"),
    [
        ({"idle_seconds": 9}, {"first_byte_seconds": 600}, (2.0, 600.0, 9.0, None)),
        ({"total_seconds": 50}, {}, (2.0, 50.0, 50.0, 50.0)),
        ({"total_seconds": 50}, {"total_seconds": 900, "idle_seconds": 1}, (2.0, 300.0, 1.0, 900.0)),
    ],
)
async def test_a_replica_may_have_its_own_and_none_is_longer_than_the_whole(
    model: dict[str, Any], own: dict[str, Any], expected: tuple[float | None, ...]
) -> None:
    settings = config(replicas=[replica("a", timeouts=own)])
    settings["models"][0]["timeouts"] = model
    async with running(settings=settings) as gateway:
        found = member(gateway).timeouts
    assert (found.connect_seconds, found.first_byte_seconds, found.idle_seconds, found.total_seconds) == expected


class Launcher:
    settings = LaunchSettings

    def __init__(self) -> None:
        self.asked: list[tuple[Any, str, int]] = []
        self.argv: tuple[str, ...] = ("engine",)

    def plan(self, launch: LaunchSettings, *, served_model: str, max_concurrent: int) -> LaunchPlan:
        if launch.port == 13:
            raise ConfigError("the engine is not installed; run `make engine`", "and its model is missing")
        self.asked.append((launch.port, served_model, max_concurrent))
        return LaunchPlan(self.argv, {}, f"http://127.0.0.1:{launch.port}/v")


def launching(launcher: Launcher) -> Any:
    class Startable(FakeBackend):
        pass

    backend: Any = Startable()
    backend.launcher = launcher
    found: Backend = backend
    return plugin(moegate_backends=lambda: [extension("startable", found)])


def launched(port: int) -> dict[str, Any]:
    return {"name": "a", "backend": "startable", "launch": {"model": "k2", "port": port}, "max_concurrent": 2}


async def test_a_launched_replica_listens_where_its_plan_says() -> None:
    launcher = Launcher()
    async with running(launching(launcher), settings=config(replicas=[launched(8041), replica("b")])) as gateway:
        assert launcher.asked == [(8041, "kimi-k2", 2)]
        assert (member(gateway).origin.port, member(gateway).base_path) == (8041, "/v")
        (item,) = gateway.runtime.fleet.launched()
        assert item.replica is member(gateway).replica
        assert item.plan.argv == ("engine",)


async def test_every_problem_of_a_plan_is_told() -> None:
    with pytest.raises(ConfigError) as caught:
        async with running(launching(Launcher()), settings=config(replicas=[launched(13)])):
            pass
    assert [problem.partition(" (line")[0] for problem in caught.value.problems] == [
        "models[0].replicas[0].launch: the engine is not installed; run `make engine`",
        "models[0].replicas[0].launch: and its model is missing",
    ]


async def test_how_long_an_engine_may_take_is_said_beside_its_plan() -> None:
    slow = launched(8042) | {"name": "slow", "launch": {"model": "k2", "port": 8042, "ready_seconds": 60}}
    async with running(
        launching(Launcher()), settings=config(replicas=[launched(8041), slow, replica("b")])
    ) as gateway:
        assert [item.ready_seconds for item in gateway.runtime.fleet.launched()] == [900.0, 60.0]


async def test_a_replica_is_another_when_its_engine_is_started_otherwise_though_its_address_stays() -> None:
    """Else the new one would be taken for ready because the old one is."""
    launcher = Launcher()
    settings = config(replicas=[launched(8041), replica("b")])
    async with running(launching(launcher), settings=settings) as gateway:
        before = member(gateway).replica
        unchanged = await gateway.build(settings)
        assert unchanged.fleet.members()[0].replica is before
        launcher.argv = ("engine", "--faster")
        changed = await gateway.build(settings)
        after = changed.fleet.members()[0].replica
        assert after is not before
        assert after.url == before.url
        assert changed.fleet.members()[1].replica is unchanged.fleet.members()[1].replica
        for runtime in (unchanged, changed):
            await runtime.stop()
