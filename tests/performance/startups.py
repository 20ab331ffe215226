"""Takes the time from a process's start to the first 200 of a call; it picks no target and stops none that it returns."""

import http.client
import json
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from tests.performance.targets import LOOK_SECONDS, Place, Target, UnavailableError

FIRST_CALL_SECONDS = 60.0
Starter = Callable[[Place], Target]


def first_answer(target: Target) -> bool:
    """Make one call and tell whether it was answered."""
    body = {"model": target.model, "messages": [{"role": "user", "content": "hello"}]}
    headers = dict(header.split(": ", 1) for header in target.headers)
    if target.keys is not None:
        headers["authorization"] = f"Bearer {target.keys.read_text().split()[0]}"
    host, port = target.address
    connection = http.client.HTTPConnection(host, port, timeout=10)
    try:
        path = target.path + "/v1/chat/completions"
        connection.request("POST", path, json.dumps(body), {"content-type": "application/json", **headers})
        answer = connection.getresponse()
        answer.read()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return answer.status == http.client.OK


def seconds_to_first_answer(target: Target) -> float:
    """Call until a call is answered; to be asked right after the start, since the time counts from there."""
    deadline = time.monotonic() + FIRST_CALL_SECONDS
    while not first_answer(target):
        if time.monotonic() > deadline:
            raise UnavailableError(f"no call was answered within {FIRST_CALL_SECONDS:.0f} s of its being ready")
        time.sleep(LOOK_SECONDS)
    return (time.monotonic_ns() - target.launched_ns) / 1e9


def start_timed(
    starter: Starter, place: Callable[[Path], Place], starts: int, stack: ExitStack
) -> tuple[Target, list[float]]:
    """Start it so many times, each in a folder of its own; the last one is kept, and ends with the stack."""
    times = []
    for number in range(starts):
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="moegate-bench-")))
        target = starter(place(folder))
        try:
            seconds = seconds_to_first_answer(target)
        except UnavailableError:
            target.stop()
            raise
        # The engine itself is started once, by others.
        if target.process is not None:
            times.append(seconds)
        if number + 1 < starts:
            target.stop()
    stack.callback(target.stop)
    return target, times
