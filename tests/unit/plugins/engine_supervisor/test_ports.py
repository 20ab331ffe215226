from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest
import structlog

from gateway import LaunchPlan
from plugins.engine_supervisor import ports
from plugins.engine_supervisor.ports import Turn
from plugins.engine_supervisor.process import EngineStatus
from tests.unit.plugins.engine_supervisor import engines
from tests.unit.plugins.engine_supervisor.engines import Switchboard, lines, until

DOWN, RUNNING = EngineStatus.DOWN, EngineStatus.RUNNING


@pytest.fixture
def stranger() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def url_of(server: socket.socket) -> str:
    return f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_a_port_that_somebody_listens_on_is_not_free(address: str) -> None:
    with socket.create_server((address, 0)) as server:
        url = url_of(server)
        assert not ports.is_free(url)
    assert ports.is_free(url)


def test_one_whose_connections_are_only_just_over_is() -> None:
    """An engine that is restarted at once finds its port in TIME_WAIT."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = url_of(server)
        client = socket.create_connection(server.getsockname())
        accepted, _ = server.accept()
        accepted.close()  # the side that closes first keeps the port
        client.recv(1)
        client.close()
    assert ports.is_free(url)


def test_an_address_of_the_new_kind() -> None:
    try:
        server = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("this machine has no IPv6")
    with server:
        url = f"http://[::1]:{server.getsockname()[1]}"
        assert not ports.is_free(url)
    assert ports.is_free(url)


async def test_an_engine_whose_port_is_taken_is_not_started_and_says_so(
    board: Switchboard, stranger: socket.socket
) -> None:
    plan = board.plan(engines.WAITS)
    plan = LaunchPlan(plan.argv, plan.environment, url_of(stranger))
    engine = board.engine(plan)
    with structlog.testing.capture_logs() as logs:
        engine.start()
        reason = await until(engine, DOWN)
    assert reason == "the engine cannot listen: its port is in use by another program; it is started again in 0.01 s"
    (line,) = lines(logs, "engine cannot start")
    assert (line["engine"], line["url"]) == ("ref", plan.url)
    assert board.quiet
    stranger.close()
    await board.life()


async def test_where_an_engine_of_ours_is_in_the_way_it_is_named(board: Switchboard) -> None:
    plan = board.plan(
        "server = socket.create_server(('127.0.0.1', int(os.environ['PORT']))); report('lives'); wait()",
        PORT=str(port := board.plan("").url.rpartition(":")[2]),
    )
    plan = LaunchPlan(plan.argv, plan.environment, f"http://127.0.0.1:{port}")
    board.engine(plan, name="other").start()
    await board.life()
    engine = board.engine(plan)
    engine.start()
    assert "its port is in use by the engine 'other';" in await until(engine, DOWN)


async def test_engines_of_one_port_have_it_one_after_the_other(board: Switchboard) -> None:
    turn = Turn()
    old, new = board.engine(engines.OBEYS, turn=turn), board.engine(engines.WAITS, turn=turn)
    old.start()
    life = await board.life()
    new.start()
    assert await until(new, DOWN) == "the engine waits until the one before it has ended"
    assert board.quiet
    closing = asyncio.create_task(old.aclose())
    assert await life.end() == "stops in order\n"
    assert (await board.life()).pid != life.pid
    await closing
    assert await until(new, RUNNING) == "the engine is loading"


async def test_one_that_waits_for_its_turn_can_be_stopped(board: Switchboard) -> None:
    turn = Turn()
    old, new = board.engine(engines.WAITS, turn=turn), board.engine(engines.WAITS, turn=turn)
    old.start()
    life = await board.life()
    new.start()
    await until(new, DOWN)
    await new.aclose()
    assert old.status is RUNNING
    await old.aclose()
    await life.end()
    assert board.quiet


def test_looking_leaves_a_port_as_it_was() -> None:
    """The look itself must not keep the engine from listening a moment later."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = url_of(probe)
    assert ports.is_free(url)
    code = f"import socket; socket.create_server(('127.0.0.1', {url.rpartition(':')[2]}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
