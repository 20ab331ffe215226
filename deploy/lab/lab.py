"""The lab: `lab.py start` brings k2-tiny up on every engine that fits this machine, behind one gateway; `lab.py stop` ends it."""

import argparse
import asyncio
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml
from lab_gateway import LabError, LabGateway
from lab_machine import GIB, choose, free_memory_bytes, install, prepare, version_of

from gateway.cli import logs
from gateway.cli.opening import Opener
from gateway.errors import ConfigError
from plugins.api_keys.commands import key_in
from plugins.engine_supervisor.operating import Operator
from plugins.engine_supervisor.records import Owner, Records
from plugins.engine_supervisor.status import Seen, Situation
from plugins.engine_supervisor.stopping import CannotStop, stop_recorded
from plugins.engine_supervisor.supervisor import SupervisorSettings

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CONFIG = HERE / "moegate.yaml"
STATE = Path(".moegate")
KEY_VARIABLE = "MOEGATE_DEMO_KEY"
HEADER = "# Written by `make lab` from deploy/lab/moegate.yaml: what runs on this machine. Change that file, and run it again.\n"

BANNER = """
  URL        {url}/v1
  demo key   {key}

  curl {url}/v1/chat/completions -H "Authorization: Bearer {key}" \\
    -H "Content-Type: application/json" -i \\
    -d '{{"model": "kimi-k2", "messages": [{{"role": "user", "content": "What is 3 + 4?"}}]}}'

  moegate engines status --config {config}     # with MOEGATE_DEMO_KEY set, as `cat .moegate/demo.key` shows it
  make lab-stop                                # ends the gateway and the engines
"""


class Lab:
    """The lab of this working copy."""

    def __init__(self) -> None:
        self.gateway = LabGateway(STATE / "lab")
        self.content: dict[str, Any] = yaml.safe_load(CONFIG.read_text())
        self.left_out: dict[str, str] = {}
        self.failed: set[str] = set()

    @property
    def replicas(self) -> list[dict[str, Any]]:
        """All that the lab's configuration has."""
        return [replica for model in self.content["models"] for replica in model["replicas"]]

    def write_config(self) -> Path:
        """Write what is served: the configuration less what is left out or has failed. The gateway reloads it."""
        without = self.left_out.keys() | self.failed
        models = [
            {**model, "replicas": [replica for replica in model["replicas"] if replica["name"] not in without]}
            for model in self.content["models"]
        ]
        text = HEADER + yaml.safe_dump({**self.content, "models": models}, sort_keys=False)
        file = self.gateway.config
        file.parent.mkdir(parents=True, exist_ok=True)
        if not file.exists() or file.read_text() != text:
            new = file.with_suffix(".new")
            new.write_text(text)
            new.replace(file)
        return file

    def install(self, python: str, without: Sequence[str] = ()) -> None:
        """Have every engine and its weights; what cannot be had, or is not wanted, is left out."""
        for replica in self.replicas:
            if replica["name"] in without:
                self.left_out[replica["name"]] = "as asked for"
                continue
            missing = install(replica["backend"], python) or prepare(replica["backend"], python)
            if missing:
                self.left_out[replica["name"]] = missing

    def fit(self) -> None:
        """Leave out what there is no memory for."""
        running = {record.name for record in Records(SupervisorSettings().state_folder).alive()}
        there = {
            replica["name"]: replica["backend"] for replica in self.replicas if replica["name"] not in self.left_out
        }
        free = free_memory_bytes()
        say(f"memory: {free / GIB:.1f} GiB are free")
        self.left_out |= choose(there, running, free)

    async def bring_up(self) -> list[Seen]:
        """Start what does not run, a few at a time, and wait until it serves; how each engine is then."""
        at_once = asyncio.Semaphore(max(1, os.cpu_count() or 1))
        async with Opener().open(self.write_config()) as opened:
            operator = Operator(opened, say)

            async def up(name: str) -> None:
                async with at_once:
                    (item,) = operator.chosen([name])
                    if not await operator.up(item):
                        self.failed.add(name)

            launched = operator.chosen(())
            await asyncio.gather(*(up(item.replica.name) for item in launched))
            return await asyncio.gather(*(operator.look(item) for item in launched))

    async def stop(self) -> bool:
        """Stop the gateway, then the engines that were brought up for it; whether nothing of it is left."""
        say("gateway: stopped" if await self.gateway.stop() else "gateway: does not run")
        names = {replica["name"] for replica in self.replicas}
        records = [
            record
            for record in Records(SupervisorSettings().state_folder).alive()
            if record.name in names and (record.owner is Owner.COMMAND or not record.owner_process.alive)
        ]

        async def stopped(record: Any) -> bool:
            try:
                await stop_recorded(record, SupervisorSettings().stop_seconds)
            except CannotStop as error:
                say(f"{record.name}: {error}")
                return False
            say(f"{record.name}: stopped")
            return True

        return all(await asyncio.gather(*(stopped(record) for record in records)))


def table(seen: Iterable[Seen], left_out: dict[str, str]) -> list[str]:
    """A line per engine, those that were left out with the reason."""
    rows = [("ENGINE", "VERSION", "WEIGHTS", "PORT", "READY", "MEMORY")]
    rows += [
        (
            engine.name,
            version_of(engine.backend or ""),
            engine.weight_format or "-",
            engine.url.rpartition(":")[2],
            "yes" if engine.state is Situation.READY else f"no: {engine.reason or engine.state.value}",
            f"{engine.memory_bytes / GIB:.2f} GiB" if engine.memory_bytes else "-",
        )
        for engine in seen
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return lines + [f"{name.ljust(widths[0])}  left out: {why}" for name, why in left_out.items()]


async def start(port: int, python: str, without: Sequence[str] = ()) -> int:
    """Bring the lab up, and print what runs."""
    lab = Lab()
    lab.install(python, without)
    lab.fit()
    seen = await lab.bring_up()
    if len(lab.failed) == len(seen):
        say("no engine is up")
        return 1
    config = lab.write_config()
    gateway, started = await lab.gateway.start(port)
    say(
        f"gateway: {'started' if started else 'runs already'}, pid {gateway.engine.pid}, log {STATE / 'lab' / gateway.log.name}\n"
    )
    for line in table(seen, lab.left_out):
        say(line)
    say(BANNER.format(url=gateway.url, key=os.environ[KEY_VARIABLE], config=config))
    return 1 if lab.failed else 0


def say(text: str) -> None:
    """Print at once, also into a pipe."""
    print(text, flush=True)


def main() -> int:
    """Parse the command line and do it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("action", choices=["start", "stop"])
    parser.add_argument("--port", type=int, default=8080, help="where the gateway listens")
    parser.add_argument("--python", default=sys.executable, help="the interpreter that makes the engines' environments")
    parser.add_argument(
        "--without", action="append", default=[], metavar="ENGINE", help="leave it out; may stand twice"
    )
    asked = parser.parse_args()
    os.chdir(ROOT)
    os.environ[KEY_VARIABLE] = os.environ.get(KEY_VARIABLE) or key_in(STATE / "demo.key")
    logs.configure(logs.Format.TEXT, logs.Level.WARNING)
    try:
        if asked.action == "stop":
            return 0 if asyncio.run(Lab().stop()) else 1
        return asyncio.run(start(asked.port, asked.python, asked.without))
    except ConfigError as error:
        for problem in error.problems:
            say(f"lab: {problem}")
        return 2
    except (LabError, ValueError) as error:
        say(f"lab: {error}")
        return 1
    except KeyboardInterrupt:
        say("lab: interrupted; what was started goes on, `make lab-stop` ends it")
        return 130


if __name__ == "__main__":
    sys.exit(main())
