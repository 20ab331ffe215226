from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gateway import LaunchPlan
from plugins.engine_supervisor.keeper import start_of
from plugins.engine_supervisor.records import Identity, Records, digest_of, key_of, myself

URL = "http://127.0.0.1:8031"


def test_a_process_is_known_by_its_pid_and_its_start() -> None:
    assert myself().alive
    assert not Identity(os.getpid(), "another boot:1").alive
    assert not Identity(os.getpid(), "over").alive


def test_one_that_is_over_is_not_alive_even_as_a_zombie() -> None:
    child = subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE)
    identity = Identity(child.pid, start_of(child.pid) or "")
    assert identity.alive
    assert child.stdin is not None
    child.stdin.close()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert Path(f"/proc/{child.pid}").exists()
    assert not identity.alive
    child.wait()
    assert not identity.alive


def test_a_name_with_brackets_does_not_hide_when_a_process_began(tmp_path: Path) -> None:
    """The name stands in brackets before the numbers, and may hold anything."""
    program = tmp_path / ") R 1 2 (x"
    program.symlink_to("/bin/cat")
    child = subprocess.Popen([program], executable=program, stdin=subprocess.PIPE)
    assert b") R 1 2 (x)" in Path(f"/proc/{child.pid}/stat").read_bytes()
    mine, its = (start_of(pid) for pid in (os.getpid(), child.pid))
    child.communicate()
    assert mine is not None
    assert its is not None
    assert int(its.rpartition(":")[2]) >= int(mine.rpartition(":")[2])


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'{"name": "a"}'])
def test_a_record_that_cannot_be_read_is_none(tmp_path: Path, content: bytes) -> None:
    records = Records(tmp_path)
    records.file("a", URL).write_bytes(content)
    assert records.read("a", URL) is None
    assert records.alive() == []


def test_where_nothing_was_written_nothing_is_known(tmp_path: Path) -> None:
    records = Records(tmp_path / "absent")
    assert records.read("a", URL) is None
    assert records.alive() == []


def test_every_name_and_port_has_a_file_of_its_own() -> None:
    names = ["a/b", "a_b", "a%2Fb", "a.b", "../a", "a@8031"]
    keys = {key_of(name, URL) for name in names} | {key_of("a/b", "http://127.0.0.1:8032")}
    assert len(keys) == len(names) + 1
    assert not any("/" in key for key in keys)


def test_equal_plans_have_equal_digests_and_others_do_not() -> None:
    plan = LaunchPlan(("a", "b"), {"x": "1", "y": "2"}, URL)
    assert digest_of(plan) == digest_of(LaunchPlan(("a", "b"), {"y": "2", "x": "1"}, URL))
    for other in (
        LaunchPlan(("a", "c"), plan.environment, URL),
        LaunchPlan(plan.argv, {"x": "1"}, URL),
        LaunchPlan(plan.argv, plan.environment, URL + "0"),
    ):
        assert digest_of(other) != digest_of(plan)
    assert "secret" not in digest_of(LaunchPlan(("a",), {"x": "secret"}, URL))


async def test_one_at_a_time_starts_or_stops_an_engine(tmp_path: Path) -> None:
    records = Records(tmp_path)
    order: list[str] = []
    waits = asyncio.Event()

    async def second() -> None:
        waits.set()
        async with records.locked("a", URL):
            order.append("second")

    async with records.locked("a", URL):
        task = asyncio.create_task(second())
        await waits.wait()
        async with records.locked("b", URL):  # another engine does not wait
            order.append("other")
        order.append("first")
    await task
    assert order == ["other", "first", "second"]


async def test_the_lock_holds_between_processes(tmp_path: Path) -> None:
    records = Records(tmp_path)
    code = (
        "import fcntl, sys; lock = open(sys.argv[1], 'w'); fcntl.flock(lock, fcntl.LOCK_EX);"
        "print('locked', flush=True); input()"
    )
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-S", "-c", code, str(tmp_path / f"{key_of('a', URL)}.lock")),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    assert await child.stdout.readline() == b"locked\n"
    entered = asyncio.Event()

    async def enter() -> None:
        async with records.locked("a", URL):
            entered.set()

    task = asyncio.create_task(enter())
    for _ in range(50):
        await asyncio.sleep(0)
    assert not entered.is_set()
    child.stdin.write(b"\n")
    await task
    await child.wait()
