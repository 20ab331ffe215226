from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil
import pytest
import structlog

from gateway import LaunchPlan
from plugins.engine_supervisor import keeping, process
from plugins.engine_supervisor.process import EngineStatus
from plugins.engine_supervisor.records import Owner, State, myself
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
    monkeypatch.setattr(keeping, "TAIL_BYTES", 20)
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
    engine = board.engine(LaunchPlan((str(program),), {}, board.plan("").url))
    with structlog.testing.capture_logs() as logs:
        engine.start()
        assert await until(engine, DOWN) == f"the engine could not be started ({why}); it is started again in 0.01 s"
    (line,) = lines(logs, "engine cannot start")
    assert (line["engine"], line["program"], line["why"]) == ("ref", str(program), f"could not be started ({why})")


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
    assert lines(logs, "engine did not stop, it was killed")


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


async def test_an_engine_does_not_get_what_is_the_gateway_s_own(
    board: Switchboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOEGATE_DEMO_KEY", "a-secret")
    board.engine("report(os.environ.get('MOEGATE_DEMO_KEY', 'nothing')); wait()").start()
    assert (await board.life()).word == "nothing"


async def test_no_command_line_shows_a_plan_s_environment(board: Switchboard) -> None:
    plan = board.plan("report(os.environ['HF_TOKEN']); wait()", HF_TOKEN="a-secret")
    board.engine(plan).start()
    assert (await board.life()).word == "a-secret"
    keeper = psutil.Process(board.record(plan).keeper.pid)
    assert any(word.endswith("keeper.py") for word in keeper.cmdline())
    assert "a-secret" not in f"{keeper.cmdline()} {keeper.environ()}"


# The log


@pytest.fixture
def no_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "FIRST_PAUSE_SECONDS", 3_600.0)


@pytest.mark.usefixtures("no_restart")
async def test_a_log_never_grows_beyond_its_bound_while_the_engine_runs(board: Switchboard) -> None:
    plan = board.plan("print('first'); print(('x' * 99 + chr(10)) * 6_000, flush=True); " + engines.EXITS)
    engine = board.engine(plan, log_bytes=65_536)
    engine.start()
    await until(engine, DOWN)
    log, older = board.log(plan), board.log(plan).with_suffix(".log.1")
    assert 0 < log.stat().st_size <= 65_536
    assert 0 < older.stat().st_size <= 65_536
    assert log.read_text().endswith("its last words\n")
    assert sorted(file.name for file in board.folder.glob("*.log*")) == sorted([log.name, older.name])


@pytest.mark.usefixtures("no_restart")
async def test_nothing_is_lost_where_a_log_is_divided(board: Switchboard) -> None:
    plan = board.plan("print(*range(16_000), sep=chr(10), flush=True); " + engines.EXITS)
    engine = board.engine(plan, log_bytes=65_536)
    engine.start()
    await until(engine, DOWN)
    log = board.log(plan)
    said = log.with_suffix(".log.1").read_text() + log.read_text()
    numbers = [line for line in said.splitlines() if line.isdecimal()]
    assert numbers == [str(number) for number in range(16_000)]


@pytest.mark.usefixtures("no_restart")
async def test_a_name_with_a_slash_has_its_log_too(board: Switchboard) -> None:
    plan = board.plan(engines.EXITS)
    engine = board.engine(plan, name="a/b")
    engine.start()
    await until(engine, DOWN)
    assert board.log(plan, "a/b").name.startswith("a%2Fb@")
    assert "its last words" in board.log(plan, "a/b").read_text()


async def test_what_the_engine_before_said_is_not_taken_for_its_last_words(board: Switchboard, tmp_path: Path) -> None:
    silent = tmp_path / "silent"
    script = f"import pathlib; pathlib.Path({str(silent)!r}).exists() and os._exit(5)\n" + engines.EXITS
    engine = board.engine(script)
    with structlog.testing.capture_logs() as logs:
        engine.start()
        assert "status 3" in await until(engine, DOWN)
        silent.touch()
        while "status 5" not in await until(engine, DOWN):
            await until(engine, EngineStatus.RUNNING)
    ended = {line["how"]: line["tail"] for line in lines(logs, "engine ended")}
    assert ended["exited with status 3"] == "its last words\n"
    assert ended["exited with status 5"] == ""


# The keeper


async def test_an_engine_whose_keeper_is_killed_is_ended_whole_and_started_again(board: Switchboard) -> None:
    plan = board.plan(engines.STUBBORN)
    engine = board.engine(plan, stop_seconds=0.05)
    engine.start()
    life = await board.life()
    os.kill(board.record(plan).keeper.pid, signal.SIGKILL)
    assert (await until(engine, DOWN)).startswith("the engine was lost with its keeper;")
    await life.end()
    assert (await board.life()).pid != life.pid


async def test_an_engine_that_closes_its_output_is_still_watched(board: Switchboard) -> None:
    engine = board.engine("os.close(1); os.close(2); " + engines.WAITS)
    engine.start()
    life = await board.life()
    os.kill(life.pid, signal.SIGKILL)
    assert (await until(engine, DOWN)).startswith("the engine was ended by signal 9;")


async def test_what_is_written_of_an_engine_follows_its_life(board: Switchboard) -> None:
    plan = board.plan(engines.WAITS)
    engine = board.engine(plan)
    engine.start()
    life = await board.life()
    record = board.record(plan)
    assert (record.engine.pid, record.state, record.owner) == (life.pid, State.RUNNING, Owner.GATEWAY)
    assert record.alive
    assert record.owner_process == myself()
    os.kill(life.pid, signal.SIGKILL)
    await until(engine, DOWN)
    ended = board.record(plan)
    assert (ended.state, ended.status) == (State.ENDED, -9)
    again = await board.life()
    await engine.aclose()
    stopped = board.record(plan)
    assert (stopped.engine.pid, stopped.state) == (again.pid, State.STOPPED)
    assert not stopped.alive


# Workers


async def test_an_engine_is_told_to_stop_before_its_workers_are(board: Switchboard) -> None:
    """SGLang takes a worker that ends before it for a crash; and a worker's calls are cut when it is told first."""
    engine = board.engine(engines.PARENT_THAT_OBEYS)
    engine.start()
    lives = {life.word: life for life in (await board.life(), await board.life())}
    await engine.aclose()
    assert await lives["lives"].end() == "stops in order\n"
    assert await lives["worker"].end() == "told when orphaned: True\n"


async def test_workers_of_an_engine_whose_keeper_is_killed_are_ended_too(board: Switchboard) -> None:
    plan = board.plan(engines.PARENT)
    engine = board.engine(plan, stop_seconds=0.05)
    engine.start()
    worker, parent = await board.life(), await board.life()
    os.kill(board.record(plan).keeper.pid, signal.SIGKILL)
    await until(engine, DOWN)
    await worker.end()
    await parent.end()
