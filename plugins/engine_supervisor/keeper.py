"""The keeper: one small process per engine that starts it, keeps its log bounded, and ends it when told or left alone.

It runs by path in an interpreter of its own (`python -I -S keeper.py NAME`) and knows the standard library only, so that
it is there in milliseconds and takes a few megabytes beside an engine's gigabytes. The first line of its standard input is
the order, a JSON object (`Order` in `keeping.py`): a command line would show a plan's secrets to every user of the machine.
It reports in JSON lines on standard output: `{"pid", "started"}` or `{"error"}`, and at the end `{"status", "killed"}`.

Why a process, and not the gateway itself or copies of a growing file:
- an engine that outlives the command that started it has nobody else to bound its log;
- a pipe read here is rotated without losing a line, and a gateway that is busy cannot make an engine wait for it;
- the rest of standard input is the lifeline: when the gateway dies, however that is, it ends, and the whole engine is
  stopped in order; the kernel's own signal for that reaches one process of an engine, and only asks.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import selectors
import signal
import subprocess
import time
from typing import Any

CHUNK_BYTES = 65_536
# What a dead engine's pipe may still hold, and a little for workers that write while they are killed.
LAST_WORDS_BYTES = 4 * 1024 * 1024
# For workers that an engine leaves behind when it was told to stop.
WORKERS_SECONDS = 1.0
LOOK_SECONDS = 0.05
# Stands in the log before what an engine says, so that nobody takes the words of the one before it for its own.
START_MARK = "=== started by moegate"
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def start_of(pid: int) -> str | None:
    """When a process began, as the kernel counts it: with the pid, it names one process for ever. None if it is over."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat, open("/proc/sys/kernel/random/boot_id") as boot:  # noqa: PTH123 - pathlib costs a third of this program's start
            fields = stat.read().rpartition(b")")[2].split()
            return None if fields[0] in (b"Z", b"X") else f"{boot.read().strip()}:{int(fields[19])}"
    except (OSError, IndexError, ValueError):
        return None


def members(group: int) -> list[int]:
    """The processes of a group that still do something, less the one it is named after."""
    found = []
    for pid in filter(str.isdecimal, os.listdir("/proc")):  # noqa: PTH208 - as above
        try:
            with open(f"/proc/{pid}/stat", "rb") as stat:  # noqa: PTH123 - as above
                fields = stat.read().rpartition(b")")[2].split()
        except OSError:
            continue  # it has ended meanwhile
        if int(fields[2]) == group and fields[0] not in (b"Z", b"X") and int(pid) != group:
            found.append(int(pid))
    return found


def signal_group(group: int, number: int) -> None:
    """Signal every process of a group, if there is one."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


class Log:
    """A file and the one before it, each bounded. A full disk loses lines; it never stops the engine."""

    def __init__(self, path: str, most_bytes: int) -> None:
        self._path = path
        self._most_bytes = most_bytes
        self._file = self._open()

    def write(self, data: bytes) -> None:
        """Append, and begin a new file where this one would grow too long; with a whole line, if there is one."""
        with contextlib.suppress(OSError):
            while data:
                size = os.fstat(self._file).st_size
                room = max(0, self._most_bytes - size)
                fits = len(data) if len(data) <= room else data.rfind(b"\n", 0, room) + 1 or (room if not size else 0)
                data = data[os.write(self._file, data[:fits]) if fits else 0 :]
                if data:
                    self._begin()

    def _begin(self) -> None:
        with contextlib.suppress(FileNotFoundError):  # somebody has cleared it away
            os.replace(self._path, self._path + ".1")  # noqa: PTH105 - as above
        os.close(self._file)
        self._file = self._open()

    def _open(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)


class Keeper:
    """One engine's life."""

    def __init__(self, order: dict[str, Any]) -> None:
        self._order = order
        self._stop_at: float | None = None
        self._stopping = False
        self._killed = False
        self._selector = selectors.DefaultSelector()
        self._output = -1
        self._engine = 0
        self._record: dict[str, Any] = {}

    def run(self) -> None:
        """Start the engine and stay with it to its end."""
        wakeup = _catch_signals()
        self._log = Log(self._order["log"], self._order["log_bytes"])
        try:
            process = self._start()
        except (OSError, subprocess.SubprocessError) as error:
            self._report(error=os.strerror(error.errno or 0) if isinstance(error, OSError) else "its start failed")
            return
        self._engine = process.pid
        self._note(state="running", status=None)
        self._report(**self._record["engine"])
        self._watch(process, wakeup)

    def _start(self) -> subprocess.Popen[bytes]:
        read, write = os.pipe()
        self._log.write(f"{START_MARK} at {time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())}\n".encode())
        process = subprocess.Popen(  # noqa: S603 - the operator's own configuration says what to run
            self._order["argv"],
            env={**os.environ, **self._order["environment"]},
            stdin=subprocess.DEVNULL,
            stdout=write,
            stderr=write,
            start_new_session=True,  # a group of its own, so that all of it can be ended, and nothing else
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - there are no threads here
        )
        os.close(write)
        os.set_blocking(read, False)
        self._output = read
        self._selector.register(read, selectors.EVENT_READ, self._pump)
        return process

    def _watch(self, process: subprocess.Popen[bytes], wakeup: int) -> None:
        self._selector.register(wakeup, selectors.EVENT_READ, self._signalled)
        if self._order["lifeline"]:
            self._selector.register(0, selectors.EVENT_READ, self._left_alone)
        while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            wait = None if self._stop_at is None else max(0.0, self._stop_at - time.monotonic())
            for key, _ in self._selector.select(wait):
                key.data(key.fd)
            if self._stop_at is not None and time.monotonic() >= self._stop_at:
                self._stop_at, self._killed = None, True
                signal_group(self._engine, signal.SIGKILL)
        # Workers that outlived their parent hold memory and port. The pid is not given to another before the wait below.
        if self._stopping and not self._killed:
            self._let_workers_end()
        signal_group(self._engine, signal.SIGKILL)
        status = process.wait()
        self._drain()
        self._note(state="stopped" if self._stopping else "ended", status=status)
        self._report(status=status, killed=self._killed)

    def _let_workers_end(self) -> None:
        if not members(self._engine):
            return
        signal_group(self._engine, signal.SIGTERM)
        until = time.monotonic() + WORKERS_SECONDS
        while members(self._engine) and time.monotonic() < until:
            for key, _ in self._selector.select(LOOK_SECONDS):
                key.data(key.fd)

    def _pump(self, output: int) -> int:
        try:
            data = os.read(output, CHUNK_BYTES)
        except BlockingIOError:
            return 0
        if data:
            self._log.write(data)
        else:  # closed by an engine that lives on
            self._selector.unregister(output)
        return len(data)

    def _drain(self) -> None:
        left = LAST_WORDS_BYTES
        while left > 0 and self._output in self._selector.get_map() and (got := self._pump(self._output)):
            left -= got

    def _signalled(self, wakeup: int) -> None:
        if signal.SIGTERM in os.read(wakeup, CHUNK_BYTES):
            self._stop()

    def _left_alone(self, lifeline: int) -> None:
        if not os.read(lifeline, CHUNK_BYTES):
            self._selector.unregister(lifeline)
            self._stop()

    def _stop(self) -> None:
        if not self._stopping:
            self._stopping = True
            self._stop_at = time.monotonic() + self._order["stop_seconds"]
            # Not its workers: an engine that is told tells them itself, when its calls are over. SGLang, for one, takes a
            # worker that ends before it for a crash, cuts its streams and looks for the cause.
            os.kill(self._engine, signal.SIGTERM)

    def _note(self, **changes: Any) -> None:
        """Write what is known of the engine where commands and gateways look for it, in one step."""
        if not self._record:
            own = os.getpid()
            self._record = {
                **self._order["record"],
                "engine": {"pid": self._engine, "started": start_of(self._engine) or "over"},
                "keeper": {"pid": own, "started": start_of(own)},
                "log": self._order["log"],
                "started_at": time.time(),
            }
        self._record |= {**changes, "changed_at": time.time()}
        path, new = self._order["record_file"], f"{self._order['record_file']}.{os.getpid()}"
        with contextlib.suppress(OSError):
            with open(new, "w") as stream:  # noqa: PTH123 - as above
                json.dump(self._record, stream)
            os.replace(new, path)  # noqa: PTH105 - as above

    def _report(self, **found: Any) -> None:
        with contextlib.suppress(OSError):  # whoever started us may have what it wanted, and be gone
            os.write(1, json.dumps(found).encode() + b"\n")


def _catch_signals() -> int:
    """Turn SIGTERM and SIGCHLD into something to read; be deaf to the terminal."""
    read, write = os.pipe()
    os.set_blocking(read, False)
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write)
    # A handler and not SIG_IGN, which the engine would inherit.
    for number in (signal.SIGTERM, signal.SIGCHLD, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    return read


def _die_with_parent() -> None:
    """Runs in the engine before its program: should the keeper itself be killed, this is what is left."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _first_line(descriptor: int) -> bytes:
    line = b""
    while not line.endswith(b"\n") and (byte := os.read(descriptor, 1)):  # not a byte more: the rest is the lifeline
        line += byte
    return line


def main() -> None:
    """Do what the order says."""
    order = json.loads(_first_line(0))
    if not order["lifeline"] and os.fork():
        os._exit(0)  # what is left belongs to nobody, and to no terminal
    Keeper(order).run()


if __name__ == "__main__":
    main()
