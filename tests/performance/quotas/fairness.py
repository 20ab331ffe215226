"""How long a light tenant waits for busy engines beside one that sends 50 times more, against alone with its fair half.

Alone at fair share means: the very same calls at the same moments, by the same tenant, through a second gateway that has
half the slots and no other tenant. Both are measured at the same time, so that what else the machine does hits both.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from gateway.contracts.keys import generate_key
from tests.performance.quotas.asking import Connection, Said, Wish, connect
from tests.performance.quotas.judging import Statement
from tests.performance.quotas.world import Node, gateway_config
from tests.support.scripted_engine.process import scripted_engine

TIMES_MORE = 50
MOST_RATIO = 2.0

SLOTS = 4  # of each of two engines; half as many where the light tenant is alone
TOKEN_SECONDS, FIRST_SECONDS = 0.020, 0.100
WORDS = (1, 56)
ANSWER = (10, 30)
ROUND_SECONDS = 30.0
WARM_SECONDS = 3.0

# Of what its fair half can serve. With much less it would not wait at all when alone, and there would be no ratio.
LIGHT_LOAD = 0.7

LIGHT, HEAVY = "light", "heavy"


@dataclass
class Door:
    """One gateway, and the connections to it; none is used by two calls at once."""

    node: Node
    idle: list[Connection] = field(default_factory=list)

    async def ask(self, wish: Wish, key: str, name: str) -> None:
        """One call, to its end."""
        said = Said(name, wish, 0, time.monotonic())
        while said.ended == "lost":  # the gateway closes connections that have been idle for long, perhaps just now
            connection = await self._connection()
            await connection.ask(said, key)
            if connection.open:
                self.idle.append(connection)

    async def _connection(self) -> Connection:
        while self.idle:
            if (connection := self.idle.pop()).open:
                return connection
        connection = await connect(self.node.port)
        assert connection is not None
        return connection


@dataclass(frozen=True)
class Waits:
    """Queue times of one tenant's calls, in seconds, by round."""

    rounds: Sequence[Sequence[float]]

    def worst_hundredth(self, number: int | None = None) -> float:
        """The p99 of one round, or of all together."""
        chosen = [wait for one in self.rounds for wait in one] if number is None else self.rounds[number]
        return statistics.quantiles(chosen, n=100, method="inclusive")[98]


def fairness(rounds: int, seed: int) -> tuple[list[str], list[Statement]]:
    """Measure; the table's lines, and what must hold."""
    keys = {LIGHT: generate_key(), HEAVY: generate_key()}
    options = (
        "--metered",
        "--chunk-interval-ms",
        str(TOKEN_SECONDS * 1e3),
        "--first-chunk-ms",
        str(FIRST_SECONDS * 1e3),
    )
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="moegate-fairness-")))
        doors = []
        for number, slots in enumerate((SLOTS, SLOTS // 2)):
            engines = [stack.enter_context(scripted_engine(*options, name=f"e{number}{at}")) for at in range(2)]
            config = gateway_config(engines, keys, {"use": "fair_queue"}, slots=slots)
            node = Node(number, config, folder / f"node-{number}", keys[LIGHT])
            stack.callback(node.http.close)
            stack.callback(node.kill)
            node.start()
            doors.append(Door(node))
        beside, alone = doors
        asyncio.run(_load(beside, alone, keys, rounds, seed))
        for door in doors:
            door.node.stop()
        waits = [_waits(door.node.folder / "moegate.db", rounds) for door in doors]
        heavy = _count(beside.node.folder / "moegate.db", HEAVY)
        light = _count(beside.node.folder / "moegate.db", LIGHT)
    return _judge(waits[0], waits[1], light, heavy)


async def _load(beside: Door, alone: Door, keys: dict[str, str], rounds: int, seed: int) -> None:
    mean_seconds = FIRST_SECONDS + sum(ANSWER) / 2 * TOKEN_SECONDS
    rate = LIGHT_LOAD * SLOTS / mean_seconds
    async with asyncio.TaskGroup() as tasks:
        begun = time.monotonic() + WARM_SECONDS

        async def send(doors: Sequence[Door], tenant: str, rate: float, since: float) -> None:
            for number, (at, wish) in enumerate(_arrivals(f"{seed}/{tenant}", rate, since, rounds * ROUND_SECONDS)):
                await asyncio.sleep(max(begun + at - time.monotonic(), 0.0))
                name = f"{int(at // ROUND_SECONDS)}-{number}"
                for door in doors:
                    tasks.create_task(door.ask(wish, keys[tenant], name))

        tasks.create_task(send((beside, alone), LIGHT, rate, 0.0))
        tasks.create_task(send((beside,), HEAVY, rate * TIMES_MORE, -WARM_SECONDS))


def _arrivals(seed: str, rate: float, since: float, until: float) -> Iterator[tuple[float, Wish]]:
    """When calls come, at random with a steady rate, and what they ask for; both tenants alike."""
    choice = random.Random(seed)
    at = since
    while (at := at + choice.expovariate(rate)) < until:
        answer = choice.randint(*ANSWER)
        yield at, Wish(choice.randint(*WORDS), answer, answer, stream=False)


def _waits(database: Path, rounds: int) -> Waits:
    with sqlite3.connect(database) as connection:
        found = connection.execute("SELECT user_id, queue_us, status FROM ledger_calls WHERE tenant = ?", (LIGHT,))
        waits: list[list[float]] = [[] for _ in range(rounds)]
        for user, queue_us, status in found:
            if status == 200:
                waits[int(user.partition("-")[0])].append(queue_us / 1e6)
    connection.close()
    return Waits(waits)


def _count(database: Path, tenant: str) -> tuple[int, int, int]:
    """Calls of a tenant, those that were served, and their tokens."""
    with sqlite3.connect(database) as connection:
        asked = "SELECT count(*), sum(status = 200), sum(prompt_tokens + completion_tokens) FROM ledger_calls WHERE tenant = ?"
        (found,) = connection.execute(asked, (tenant,)).fetchall()
    connection.close()
    return int(found[0]), int(found[1]), int(found[2])


def _judge(
    beside: Waits, alone: Waits, light: tuple[int, int, int], heavy: tuple[int, int, int]
) -> tuple[list[str], list[Statement]]:
    numbers = range(len(alone.rounds))
    ratios = [beside.worst_hundredth(number) / alone.worst_hundredth(number) for number in numbers]
    lines = ["| round | calls | p99 alone with half the slots | p99 beside | ratio |", "|---|---|---|---|---|"]
    for number in numbers:
        one, other = alone.worst_hundredth(number), beside.worst_hundredth(number)
        lines.append(
            f"| {number + 1} | {len(alone.rounds[number])} | {one * 1e3:.0f} ms | {other * 1e3:.0f} ms | {ratios[number]:.2f} |"
        )
    one, other = alone.worst_hundredth(), beside.worst_hundredth()
    lines.append(f"| all | {light[0]} | {one * 1e3:.0f} ms | {other * 1e3:.0f} ms | {other / one:.2f} |")
    spread = f"median {statistics.median(ratios):.2f}, worst round {max(ratios):.2f}, all together {other / one:.2f}"
    return lines, [
        Statement("p99 queue time beside the other <= twice that alone", max(ratios) <= MOST_RATIO, spread),
        Statement(
            "the other sent 50 times more and had what was left; this one was refused nothing",
            heavy[0] > 0.8 * TIMES_MORE * light[0] and light[1] == light[0],
            f"{light[1]:,} of {light[0]:,} and {heavy[1]:,} of {heavy[0]:,} calls served, {light[2]:,} and {heavy[2]:,} tokens",
        ),
    ]
