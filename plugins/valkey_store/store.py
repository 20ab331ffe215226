"""The store: turns exchanges into one script call per budget, all in one round trip, and never takes longer than 50 ms."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Callable, Sequence

import structlog
from libvalkey import ReplyError

from gateway import Histogram, Metric
from gateway.contracts.metrics import gauge, histogram
from gateway.contracts.store import MOST_UNITS, Budget, Exchange, Grant, StoreUnavailable
from plugins.valkey_store.books import Books, Page, close
from plugins.valkey_store.commands import Command, send
from plugins.valkey_store.link import Link
from plugins.valkey_store.servers import Servers
from plugins.valkey_store.url import ServerUrl
from plugins.valkey_store.wire import Lost

log = structlog.get_logger("moegate.valkey_store")

BOUND_SECONDS = 0.045
"""How long an exchange may wait; the rest of the 50 ms is for the work around it."""

MEMORY_SECONDS = 3600.0
"""How long a node that is silent can still tell again what it told without hearing an answer."""

GRACE_SECONDS = 60.0
"""How long after its end a budget still counts: nodes' clocks differ, and the server's decides."""

MOST_ROUNDS = 4
"""Round trips of one exchange; more than one only where a server has forgotten the script or a slot has moved, or both."""

_LONGEST_KEY = 200

_SECONDS = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05)


class ValkeyStore:
    """One node's way to its budgets.

    Args:
        bound_seconds: how long an exchange may wait.
        now: seconds since 1970, instead of the server's clock; for tests.
    """

    def __init__(
        self, url: ServerUrl, *, bound_seconds: float = BOUND_SECONDS, now: Callable[[], float] | None = None
    ) -> None:
        self._url = url
        self._node = secrets.token_hex(6)
        self._lease_micros = round(url.lease_seconds * 1e6)
        self._prefix = f"{url.prefix}:budget:{{".encode()
        self._bound_seconds = bound_seconds
        self._now = now
        self._books = Books(MEMORY_SECONDS)
        self._servers: Servers | None = None
        self._complaint = ""
        self._closed = False
        self._answered, self._unanswered = Histogram(_SECONDS), Histogram(_SECONDS)

    def metrics(self) -> list[Metric]:
        """How exchanges have fared."""
        wire = self._servers.seed.wire if self._servers is not None else None
        return [
            histogram(
                "moegate_valkey_exchange_seconds",
                "Exchanges of budgets, by whether the store answered in time.",
                {("yes",): self._answered, ("no",): self._unanswered},
                "answered",
            ),
            gauge(
                "moegate_valkey_connected",
                "1 while there is a connection to the server of the URL.",
                int(wire is not None),
            ),
        ]

    async def exchange(self, exchanges: Sequence[Exchange]) -> Sequence[Grant]:
        """Tell and ask; see `BudgetStore.exchange`. Exchanges of one budget wait for each other.

        Raises:
            StoreUnavailable: nothing was heard in time. Tell it again, with what has come up since.
            ValueError: a budget stands twice in `exchanges`.
        """
        loop = asyncio.get_running_loop()
        started = loop.time()
        until = started + self._bound_seconds
        budgets = [each.budget.key for each in exchanges]
        if len(set(budgets)) < len(budgets):
            raise ValueError("a budget stands twice in one exchange")
        while (busy := self._books.busy(budgets)) is not None:
            await asyncio.wait((busy,), timeout=until - loop.time())
            if not busy.done():
                self._unanswered.observe(loop.time() - started)
                raise StoreUnavailable("an earlier exchange of the same budget is still under way")
        turn: asyncio.Future[None] = loop.create_future()
        pages = self._books.open(budgets, turn, started)
        try:
            grants = await self._exchange(exchanges, pages, until)
        except Lost as error:
            self._unanswered.observe(loop.time() - started)
            raise StoreUnavailable(str(error)) from None
        finally:
            close(pages, turn)
        self._answered.observe(loop.time() - started)
        return grants

    async def connected(self) -> None:
        """Return when there is a connection to the server of the URL; for tests."""
        await self._reach().seed.connected()

    async def aclose(self) -> None:
        """Close the connections. Slices that were not returned become free when their lease is over."""
        self._closed = True
        if self._servers is not None:
            await self._servers.aclose()

    async def _exchange(self, exchanges: Sequence[Exchange], pages: Sequence[Page], until: float) -> list[Grant]:
        servers = self._reach()
        if not servers.clustered and servers.seed.wire is None:
            await servers.seed.ready(until)  # only a connection tells whether it is a cluster
        numbers, commands = [], []
        for each, page in zip(exchanges, pages, strict=True):
            key = self._key(each.budget.key)
            numbers.append(self._books.number())
            commands.append(Command(key, self._arguments(each, page, numbers[-1]), servers.link(key)))
        await self._ask(servers, commands, until)
        grants = []
        for each, page, number, command in zip(exchanges, pages, numbers, commands, strict=True):
            granted, free, held = _numbers(command.reply)
            self._books.note(each.budget.key, page, number, held)
            grants.append(Grant(granted=granted, free=free, held=held, lease_seconds=self._url.lease_seconds))
        return grants

    async def _ask(self, servers: Servers, commands: Sequence[Command], until: float) -> None:
        """Get each command its reply.

        Raises:
            Lost: one of them has none.
        """
        missing = commands
        for _ in range(MOST_ROUNDS):
            await send(missing, until)
            missing = [command for command in missing if isinstance(command.reply, ReplyError)]
            if not missing:
                self._complaint = ""
                return
            for command in missing:
                self._follow(servers, command)
        raise Lost("the servers send us from one to another")

    def _follow(self, servers: Servers, command: Command) -> None:
        """Make a command that a server has refused ready for another try.

        Raises:
            Lost: another try would not help.
        """
        word, *rest = str(command.reply).split()
        command.asking = word == "ASK" or (word == "NOSCRIPT" and command.asking)
        link: Link | None = command.link
        if word == "NOSCRIPT":
            command.whole = True
        elif word == "MOVED" and len(rest) == 2 and rest[0].isdigit():  # noqa: PLR2004 - slot and address
            link = servers.moved(int(rest[0]), rest[1], command.link)
        elif word == "ASK" and len(rest) == 2:  # noqa: PLR2004 - slot and address
            link = servers.other(rest[1], command.link)
        else:
            link = None
        if link is not None:
            command.link = link
            return
        if word in ("READONLY", "NOAUTH", "NOPERM") and command.wire is not None:
            # It was demoted, or knows us no more: what the name of the server stands for may have changed.
            command.link.distrust(command.wire, f"it answers {word}")
        servers.refresh()
        if word != self._complaint:
            self._complaint = word
            log.warning("budget store refuses", error=word)
        raise Lost(f"the server answers {word}")

    def _reach(self) -> Servers:
        if self._closed:
            raise Lost("it is closed")
        if self._servers is None:
            self._servers = Servers(self._url)
        return self._servers

    def _key(self, key: str) -> bytes:
        # The braces keep all that may ever belong to a budget in one slot. Keys hold what users call themselves.
        name = key.encode(errors="surrogatepass")
        if len(name) > _LONGEST_KEY:
            name = b"blake2b:" + hashlib.blake2b(name, digest_size=32).hexdigest().encode()
        return self._prefix + name + b"}"

    def _arguments(self, exchange: Exchange, page: Page, number: int) -> tuple[str | int, ...]:
        budget: Budget = exchange.budget
        ends = 0 if budget.ends_at is None else round((budget.ends_at + GRACE_SECONDS) * 1e6)
        return (
            self._node,
            *(number, page.base, page.had),
            *(exchange.spent, max(exchange.returned, 0), max(exchange.wanted, 0), exchange.least),
            *(min(budget.capacity, MOST_UNITS), *budget.rate, ends),
            *(self._lease_micros, round(MEMORY_SECONDS * 1e6)),
            "" if self._now is None else round(self._now() * 1e6),
        )


def _numbers(reply: object) -> tuple[int, int, int]:
    if isinstance(reply, list) and len(reply) == 3:  # noqa: PLR2004 - granted, free, held
        granted, free, held = reply
        return int(granted), int(free), int(held)
    raise Lost("the server answers what the script cannot")
