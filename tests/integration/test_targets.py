"""Replicas that stand in a file of targets come and go without a restart; what runs on one that goes may end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.contracts.keys import generate_key
from tests.integration.asking import CHAT, chat
from tests.integration.configs import config, model, replica
from tests.integration.conftest import World
from tests.integration.wire import Wire
from tests.support.gateway_process import GatewayProcess, gateway_process, poll

KEY = generate_key()
FILE = {"use": "file", "path": "targets.yaml"}


@pytest.fixture
def running(world: World, tmp_path: Path) -> Iterator[GatewayProcess]:
    """A gateway whose one replica stands in a file."""
    world.a.reset()
    world.b.reset()
    write(tmp_path, [replica("a", world.a)])
    settings = config(model("kimi-k2", targets=[FILE]), keys={"x": KEY})
    settings["policies"]["routing"] = []
    with gateway_process(settings, tmp_path) as gateway:
        yield gateway


def write(folder: Path, replicas: Any) -> None:
    """Replace the file in one step."""
    (folder / "new").write_text(json.dumps(replicas))
    (folder / "new").replace(folder / "targets.yaml")


def served_by(gateway: GatewayProcess) -> str:
    """Who serves a call."""
    answer = gateway.http.post(CHAT, json=chat(), headers={"x-api-key": KEY})
    assert answer.status_code == 200, answer.text
    return answer.headers["x-moegate-replica"]


def test_they_come_and_go(running: GatewayProcess, world: World) -> None:
    assert served_by(running) == "a"
    with Wire(running.port, KEY) as wire:
        wire.ask(chat(fault="slow,gate=g", stream=True))
        wire.read_to(b" A")
        write(running.folder, [replica("b", world.b)])
        poll(lambda: served_by(running) == "b", "the new one serves")
        world.a.release("g")
        wire.read_to(b"data: [DONE]\n\n")
    write(running.folder, [replica("a", world.a), replica("b", world.b)])
    poll(lambda: served_by(running) == "a", "both are there again")


def test_a_broken_file_changes_nothing_until_it_is_mended(running: GatewayProcess, world: World) -> None:
    write(running.folder, {"not": "a list"})
    running.wait_log("targets.yaml: must be a list of replicas")
    assert served_by(running) == "a"
    write(running.folder, [replica("b", world.b)])
    poll(lambda: served_by(running) == "b", "the mended file is served")
