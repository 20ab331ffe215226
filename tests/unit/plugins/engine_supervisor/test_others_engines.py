"""Engines that somebody else has started: followed, left alone, or cleared away when whoever it was is gone."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator

import msgspec
import pytest
import structlog

from gateway import LaunchPlan
from plugins.engine_supervisor import keeping, stopping
from plugins.engine_supervisor.process import EngineStatus
from plugins.engine_supervisor.records import Owner, Record, State
from plugins.engine_supervisor.stopping import stop_recorded
from tests.unit.plugins.engine_supervisor import engines
from tests.unit.plugins.engine_supervisor.engines import Switchboard, lines, until

DOWN, RUNNING = EngineStatus.DOWN, EngineStatus.RUNNING


class Command:
    """Starts engines as `moegate engines up` does, and leaves none behind."""

    def __init__(self, board: Switchboard) -> None:
        self.board = board
        self.started: list[Record] = []

    async def up(self, plan: LaunchPlan, name: str = "ref") -> Record:
        self.started.append(await asyncio.to_thread(keeping.start_detached, name, plan, self.board.files()))
        return self.started[-1]

    async def down(self, record: Record) -> None:
        await stop_recorded(record, engines.PATIENCE_SECONDS)


@pytest.fixture
async def command(board: Switchboard) -> AsyncIterator[Command]:
    command = Command(board)
    yield command
    for record in command.started:
        await command.down(record)


async def test_an_engine_that_runs_is_followed_and_left_running(board: Switchboard, command: Command) -> None:
    plan = board.plan(engines.OBEYS)
    record = await command.up(plan)
    life = await board.life()
    engine = board.engine(plan)
    with structlog.testing.capture_logs() as logs:
        engine.start()
        while engine.reason != "the engine is loading":
            await engine.wait_for_change()
        await engine.aclose()
    (line,) = lines(logs, "engine runs already")
    assert (line["pid"], line["started_by"]) == (life.pid, "command")
    assert board.quiet
    assert record.engine.alive
    await command.down(record)
    assert await life.end() == "stops in order\n"


async def test_when_it_ends_by_itself_one_of_ours_takes_its_place(board: Switchboard, command: Command) -> None:
    plan = board.plan(engines.WAITS)
    await command.up(plan)
    life = await board.life()
    engine = board.engine(plan)
    engine.start()
    os.kill(life.pid, signal.SIGKILL)
    assert "the engine was ended by signal 9;" in await until(engine, DOWN)
    assert (await board.life()).pid != life.pid
    await until(engine, RUNNING)
    assert board.record(plan).owner is Owner.GATEWAY


async def test_when_a_command_stops_it_a_command_must_start_it(board: Switchboard, command: Command) -> None:
    plan = board.plan(engines.WAITS)
    record = await command.up(plan)
    await board.life()
    engine = board.engine(plan)
    engine.start()
    while engine.reason != "the engine is loading":
        await engine.wait_for_change()
    await command.down(record)
    assert await until(engine, DOWN) == "the engine was stopped by a command, and waits for one to start it"
    assert board.quiet
    again = await command.up(plan)
    await until(engine, RUNNING)
    assert (await board.life()).pid == again.engine.pid
    assert board.quiet


async def test_one_that_was_stopped_before_we_came_is_started(board: Switchboard, command: Command) -> None:
    plan = board.plan(engines.WAITS)
    record = await command.up(plan)
    await board.life()
    await command.down(record)
    board.engine(plan).start()
    assert (await board.life()).pid != record.engine.pid


async def test_one_with_other_settings_is_not_ours_to_stop(board: Switchboard, command: Command) -> None:
    plan = board.plan(engines.WAITS)
    record = await command.up(LaunchPlan(plan.argv, {"THREADS": "2"}, plan.url))
    await board.life()
    engine = board.engine(plan)
    engine.start()
    assert await until(engine, DOWN) == (
        "the engine runs with other settings, started by another command; `moegate engines restart ref` replaces it; "
        "it is started again in 0.01 s"
    )
    assert record.engine.alive
    assert board.quiet
    await command.down(record)
    assert (await board.life()).pid != record.engine.pid


async def test_a_second_gateway_follows_the_engine_of_the_first_and_takes_over_when_that_stops(
    board: Switchboard,
) -> None:
    plan = board.plan(engines.OBEYS)
    first, second = board.engine(plan), board.engine(plan)
    first.start()
    life = await board.life()
    second.start()
    while second.reason != "the engine is loading":
        await second.wait_for_change()
    assert board.quiet
    await second.aclose()
    third = board.engine(plan)
    third.start()
    while third.reason != "the engine is loading":
        await third.wait_for_change()
    await first.aclose()
    assert await life.end() == "stops in order\n"
    assert (await board.life()).pid != life.pid


async def orphan(board: Switchboard, command: Command, plan: LaunchPlan) -> Record:
    """An engine as a gateway leaves it that was killed together with the engine's keeper."""
    record = await command.up(plan)
    await board.life()  # from here on it is deaf to what the kernel tells it then
    os.kill(record.keeper.pid, signal.SIGKILL)
    await record.keeper.ended()
    gone = msgspec.structs.replace(record.owner_process, started="long ago")
    left = msgspec.structs.replace(record, owner=Owner.GATEWAY, owner_process=gone)
    board.files().records.file("ref", plan.url).write_bytes(msgspec.json.encode(left, enc_hook=str))
    return left


async def test_what_a_gateway_that_is_gone_has_left_is_ended_before_ours_is_started(
    board: Switchboard, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = board.plan(engines.STUBBORN)
    left = await orphan(board, command, plan)
    assert left.engine.alive
    monkeypatch.setattr(stopping, "MARGIN_SECONDS", 0.1)
    engine = board.engine(plan, stop_seconds=0.05)
    with structlog.testing.capture_logs() as logs:
        engine.start()
        assert (await board.life()).pid != left.engine.pid
    assert not left.engine.alive
    assert lines(logs, "engine of a gateway that is gone is stopped first")[0]["pid"] == left.engine.pid


async def test_a_process_that_only_has_the_same_pid_is_never_signalled(board: Switchboard, command: Command) -> None:
    plan = board.plan(engines.WAITS)
    bystander = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "input()"), stdin=asyncio.subprocess.PIPE, start_new_session=True
    )
    left = await command.up(plan)
    await board.life()
    await command.down(left)
    stale = msgspec.structs.replace(left.engine, pid=bystander.pid)
    record = msgspec.structs.replace(left, engine=stale, keeper=stale, state=State.RUNNING, owner=Owner.GATEWAY)
    assert not record.alive
    await stop_recorded(record, 0.01)
    board.files().records.file("ref", plan.url).write_bytes(msgspec.json.encode(record, enc_hook=str))
    board.engine(plan).start()
    await board.life()
    assert bystander.returncode is None
    assert (await bystander.communicate(b"\n"))[0] is None
    assert bystander.returncode == 0
