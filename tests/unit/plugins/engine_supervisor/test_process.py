from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import structlog

from gateway import LaunchPlan
from plugins.engine_supervisor import process
from plugins.engine_supervisor.process import EngineStatus
from tests.unit.plugins.engine_supervisor import engines
from tests.unit.plugins.engine_supervisor.engines import Switchboard, lines, until

DOWN, RUNNING = EngineStatus.DOWN, EngineStatus.RUNNING


# Crashes


async def test_an_engine_that_exits_is_down_and_then_started_again(board: Switchboard) -> None:
    engine = board.engine(engines.EXITS)
    engine.start()
    first = await board.life()
    assert await until(engine, DOWN) == "the engine exited with status 3; it is started again in 0.01 s"
    assert await until(engine, RUNNING) == "the engine is loading"
    second = await board.life()
    assert second.pid != first.pid


async def test_an_engine_that_was_killed_says_by_what(board: Switchboard) -> None:
    engine = board.engine(engines.KILLED)
    engine.start()
    assert (await until(engine, DOWN)).startswith("the engine was ended by signal 9;")


async def test_pauses_grow_up_to_a_limit(board: Switchboard) -> None:
    engine = board.engine(engines.EXITS)
    engine.start()
    pauses = []
    for _ in range(4):
        pauses.append((await until(engine, DOWN)).rpartition(" in ")[2])
        await until(engine, RUNNING)
    assert pauses == ["0.01 s", "0.02 s", "0.04 s", "0.04 s"]


async def test_an_engine_that_ran_well_for_long_starts_with_the_short_pause(
    board: Switchboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "WELL_SECONDS", 0.0)
    engine = board.engine(engines.EXITS)
    engine.start()
    for _ in range(3):
        assert (await until(engine, DOWN)).endswith(" in 0.01 s")
        await until(engine, RUNNING)


async def test_what_an_engine_said_last_is_logged(board: Switchboard) -> None:
    engine = board.engine(engines.EXITS)
    with structlog.testing.capture_logs() as logs:
        engine.start()
        await until(engine, DOWN)
    (line,) = lines(logs, "engine ended")
    assert (line["engine"], line["how"]) == ("ref", "exited with status 3")
    assert line["tail"].endswith("its last words\n")


async def test_only_the_end_of_a_long_log_is_repeated(board: Switchboard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "TAIL_BYTES", 20)
    engine = board.engine("print('x' * 5_000 + 'the end', flush=True); " + engines.EXITS)
    with structlog.testing.capture_logs() as logs:
        engine.start()
        await until(engine, DOWN)
    (line,) = lines(logs, "engine ended")
    assert line["tail"] == " end\nits last words\n"


# What cannot be started


@pytest.mark.parametrize(("mode", "why"), [(None, "No such file or directory"), (0o600, "Permission denied")])
async def test_an_engine_that_cannot_be_started_is_down_for_a_reason_without_a_path(
    board: Switchboard, tmp_path: Path, mode: int | None, why: str
) -> None:
    program = tmp_path / "engine"
    if mode is not None:
        program.touch(mode)
    engine = board.engine(LaunchPlan((str(program),), {}, "http://127.0.0.1:1"))
    engine.start()
    assert await until(engine, DOWN) == f"the engine could not be started ({why}); it is started again in 0.01 s"


async def test_one_that_appears_later_is_started_then(board: Switchboard, tmp_path: Path) -> None:
    plan = board.plan(engines.WAITS)
    program = tmp_path / "python"
    engine = board.engine(LaunchPlan((str(program), *plan.argv[1:]), {}, plan.url))
    engine.start()
    await until(engine, DOWN)
    program.symlink_to(plan.argv[0])
    await board.life()


# Stopping


async def test_an_engine_is_asked_to_stop(board: Switchboard) -> None:
    engine = board.engine(engines.OBEYS)
    engine.start()
    life = await board.life()
    await engine.aclose()
    assert await life.end() == "stops in order\n"


async def test_one_that_does_not_stop_is_killed(board: Switchboard) -> None:
    engine = board.engine(engines.STUBBORN, stop_seconds=0.05)
    engine.start()
    life = await board.life()
    with structlog.testing.capture_logs() as logs:
        await engine.aclose()
    await life.end()
    assert lines(logs, "engine does not stop, it is killed")


async def test_with_it_goes_everything_that_it_started(board: Switchboard) -> None:
    engine = board.engine(engines.PARENT)
    engine.start()
    worker, parent = await board.life(), await board.life()
    assert (worker.word, parent.word) == ("worker", "lives")
    await engine.aclose()
    await parent.end()
    await worker.end()


async def test_so_it_does_when_it_exits_by_itself(board: Switchboard) -> None:
    engine = board.engine(engines.PARENT_THAT_EXITS)
    engine.start()
    worker = await board.life()
    await until(engine, DOWN)
    await worker.end()


async def test_a_stopped_engine_is_not_started_again(board: Switchboard) -> None:
    engine = board.engine(engines.WAITS)
    engine.start()
    life = await board.life()
    await engine.aclose()
    await life.end()
    engine.start()
    assert board.quiet


async def test_an_engine_that_waits_for_its_restart_can_be_stopped(
    board: Switchboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "FIRST_PAUSE_SECONDS", 3_600.0)
    engine = board.engine(engines.EXITS)
    engine.start()
    await board.life()
    await until(engine, DOWN)
    await engine.aclose()
    assert board.quiet


async def test_one_that_never_was_started_is_closed_in_silence(board: Switchboard) -> None:
    await board.engine(engines.WAITS).aclose()
    assert board.quiet


# The rest


async def test_starting_twice_starts_once(board: Switchboard) -> None:
    engine = board.engine(engines.WAITS)
    engine.start()
    engine.start()
    life = await board.life()
    await engine.aclose()
    await life.end()
    assert board.quiet


async def test_an_engine_has_our_environment_and_its_plan_s(
    board: Switchboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INHERITED", "yes")
    plan = board.plan("report(os.environ['INHERITED'] + os.environ['PLANNED']); wait()", PLANNED="too")
    board.engine(plan).start()
    assert (await board.life()).word == "yestoo"


async def test_an_engine_does_not_get_our_ctrl_c(board: Switchboard) -> None:
    board.engine(engines.WAITS).start()
    life = await board.life()
    assert os.getpgid(life.pid) == os.getsid(life.pid) == life.pid != os.getpgid(0)
    os.kill(life.pid, signal.SIGTERM)
    await life.end()


async def test_a_log_that_grew_too_long_is_put_aside(
    board: Switchboard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "MAX_LOG_BYTES", 10)
    (tmp_path / "a_b.log").write_text("a long history")
    board.engine(engines.WAITS, name="a/b").start()
    await board.life()
    assert (tmp_path / "a_b.log.1").read_text() == "a long history"
    assert (tmp_path / "a_b.log").read_text() == ""
