"""What must hold of a run, and its figures: the bound, the three sums, every call once, nothing held; runs nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from tests.performance.quotas.asking import Said
from tests.performance.quotas.books import Ledger, Row
from tests.performance.quotas.spending import Run
from tests.performance.quotas.world import BUDGET, CALLS, REQUESTS, STREAMS

# Slices held beyond what calls have reserved, of what is left, for each node.
PART = 16

NOISE = ("Traceback", "crashed", "failed to settle", "never retrieved", "the store failed")


@dataclass(frozen=True)
class Statement:
    """Something that must hold, and the figures that show whether it does."""

    text: str
    holds: bool
    figures: str


@dataclass(frozen=True)
class Bound:
    """The bound of `policies/admission/quotas/README.md` for one run: `size + refilled + debts + lost`.

    Attributes:
        size: of the budget, once for each time that the store was emptied, and once more.
        refilled: by a bucket, while the run lasted.
        debts: what calls used beyond what they reserved; at most, if `rough`: what they reserved is not known outside.
        lost: at most what killed nodes had taken and not told.
    """

    size: int
    refilled: int
    debts: int
    lost: int
    rough: bool

    @property
    def total(self) -> int:
        """All of it."""
        return self.size + self.refilled + self.debts + self.lost

    def __str__(self) -> str:
        parts = [f"{self.size:,}"]
        parts += [f"{name} {units:,}" for name, units in (("refilled", self.refilled),) if units]
        parts += [f"D{' at most' if self.rough else ''} {self.debts:,}"] if self.debts else []
        parts += [f"L at most {self.lost:,}"] if self.lost else []
        return " + ".join(parts)


class Judged:
    """A run with its parts brought together."""

    def __init__(self, run: Run) -> None:
        assert run.ledger is not None
        self.run = run
        self.ledger: Ledger = run.ledger
        self.said = {said.name: said for said in run.said}
        self.rows = list(run.ledger.rows.values())
        self.used_rows = [row for row in self.rows if row.tokens]
        self.engine_tokens = sum(each.tokens for each in run.served.values())
        by_id = {row.call_id for row in self.rows}
        # Calls that were charged for though no engine had begun with them: their clients left just then.
        self.unseen = [row for row in self.used_rows if row.call_id not in run.served]
        # Calls that an engine had and the ledger has not: in flight where a gateway was killed, and nowhere else.
        self.unknown = {call_id: each for call_id, each in run.served.items() if call_id not in by_id}
        self.bound = self._bound()

    @property
    def estimated(self) -> list[Row]:
        """Calls whose usage the engine did not get to tell."""
        return [row for row in self.used_rows if row.estimated]

    def engine_tokens_of(self, rows: Iterable[Row]) -> int:
        """The engines' own sum of calls that the ledger has."""
        return sum(self.run.served[row.call_id].tokens for row in rows if row.call_id in self.run.served)

    def statements(self) -> Iterator[Statement]:
        """All that must hold."""
        yield from self._sums()
        yield from self._calls()
        yield from self._quiet()

    def _bound(self) -> Bound:
        run = self.run
        refilled = 0
        if "burst" in run.plan.limit:
            moments = [row.received_at + (row.queue_seconds or 0.0) for row in self.used_rows]
            refilled = int(run.plan.limit["amount"] * (max(moments) - min(moments))) + 1
        debts = sum(max(row.tokens - self._reserved(row), 0) for row in self.used_rows)
        lost = sum(said.wish.reserved for said in self._untold())
        return Bound(run.capacity * (1 + len(run.forgotten)), refilled, debts, lost, not run.plan.exact)

    def _reserved(self, row: Row) -> int:
        """What it reserved; at least, where its input was estimated, or where it said no `max_tokens`."""
        wish = self.said[row.user].wish
        if wish.most is None:
            return 0
        return wish.reserved if self.run.plan.exact else wish.most

    def _untold(self) -> list[Said]:
        """Calls of killed nodes that may have begun since the node told the store for the last time."""
        return [
            said
            for kill in self.run.kills
            for said in self.run.said
            if said.node == kill.node and kill.told_at <= said.begun <= kill.at
        ]

    def _sums(self) -> Iterator[Statement]:
        run, ledger = self.run, self.ledger
        yield Statement(
            "used <= the stated bound", ledger.tokens <= self.bound.total, f"{ledger.tokens:,} <= {self.bound}"
        )
        stored, unknown = run.stored[BUDGET].used, sum(each.tokens for each in self.unknown.values())
        if not run.forgotten and not run.kills and "burst" not in run.plan.limit:
            sums = {ledger.tokens, ledger.day_tokens, stored}
            yield Statement("ledger = its daily sums = settled in the store", len(sums) == 1, f"{sorted(sums)}")
            requests = run.stored[REQUESTS].used
            had = len(run.served) + len(self.unseen)
            yield Statement("requests settled = calls that engines had", requests == had, f"{requests:,} = {had:,}")
        else:
            yield Statement("ledger = its daily sums", ledger.tokens == ledger.day_tokens, f"{ledger.tokens:,}")
        if run.kills and not run.forgotten:
            caught = sum(said.wish.reserved for said in self._caught())
            off = ledger.tokens - stored
            yield Statement(
                "the store knows of all but what a killed node had not told, or had not given back",
                -caught <= off <= self.bound.lost,
                f"-{caught:,} <= {off:,} <= {self.bound.lost:,}",
            )
        if not self.estimated:
            both = ledger.tokens + unknown
            told = f"{self.engine_tokens:,} = {ledger.tokens:,}" + (f" + {unknown:,} killed" if unknown else "")
            yield Statement("engines' own sum = ledger", self.engine_tokens == both, told)

    def _caught(self) -> Iterable[Said]:
        """Calls that were in flight where a gateway was killed, or had been over for less than a telling."""
        for kill in self.run.kills:
            for said in self.run.said:
                if said.node == kill.node and said.begun <= kill.at and said.over >= kill.told_at:
                    yield said

    def _calls(self) -> Iterator[Statement]:
        run, ledger = self.run, self.ledger
        yield Statement("every call is in the ledger once", len(self.rows) == ledger.count, f"{ledger.count:,} calls")
        told = [row for row in self.used_rows if not row.estimated]
        wrong = [row for row in told if self.engine_tokens_of([row]) != row.tokens]
        yield Statement("what an engine told is in the ledger to the token", not wrong, _few(told, wrong))
        silent = [row for row in told if not run.served[row.call_id].finished]
        yield Statement("what no engine told is marked estimated", not silent, _few(self.estimated, silent))
        odd = [row for row in self.unseen if row.ending != "disconnected" or not row.estimated]
        yield Statement(
            "no call is charged for that no engine had, but its client left", not odd, _few(self.unseen, odd)
        )
        killed = {kill.node for kill in run.kills}
        ended = [
            said
            for said in run.said
            if said.status and said.name not in ledger.rows and (said.ended == "whole" or said.node not in killed)
        ]
        yield Statement(
            "every call whose answer was whole, or whose gateway lived, is in the ledger",
            not ended,
            _few(run.said, ended),
        )
        in_flight = sum(
            said.ended == "lost" or said.name not in ledger.rows for said in run.said if said.node in killed
        )
        yield Statement(
            "no engine had a call that is not in the ledger, but where a gateway was killed",
            len(self.unknown) <= in_flight,
            f"{len(self.unknown)} of {in_flight} in flight",
        )

    def _quiet(self) -> Iterator[Statement]:
        run = self.run
        stored = run.stored[BUDGET].used
        at_once = {(shown[CALLS]["used"], shown[STREAMS]["used"]) for shown in run.shown}
        yield Statement("no calls or streams are held for ever", at_once == {(0, 0)}, f"{sorted(at_once)}")
        if "burst" not in run.plan.limit:
            used = {shown[BUDGET]["used"] for shown in run.shown}
            shown = {min(stored, run.capacity)}
            yield Statement("every node shows what is settled", used == shown, f"{sorted(used)}")
            late = {said.status for said in run.late}
            yield Statement("the budget stays spent", late == {429}, f"{len(run.late)} calls more: {sorted(late)}")
        else:
            worst = self._worst_window()
            most = run.capacity + self.bound.debts + len(run.world.nodes) * run.capacity // PART
            yield Statement("in no span of time more than the bound", worst <= most, f"{worst:,} <= {most:,}")
        noise = sorted({word for log in run.logs for word in NOISE if word in log})
        yield Statement("no gateway complains of itself", not noise, f"{noise}")

    def _worst_window(self) -> int:
        """The most that was used in any span of time beyond what came back in it."""
        rate = self.run.plan.limit["amount"]
        moments = sorted((row.received_at + (row.queue_seconds or 0.0), row.tokens) for row in self.used_rows)
        worst = running = 0.0
        last = moments[0][0]
        for at, tokens in moments:
            running = max(running - rate * (at - last), 0.0) + tokens
            worst, last = max(worst, running), at
        # Arrivals are written down in whole milliseconds.
        return int(worst - rate * 0.001)


def _few(good: Sequence[object], bad: Sequence[object]) -> str:
    return f"{len(good):,} calls" + (f", but not {len(bad)}: {bad[:2]}" if bad else "")
