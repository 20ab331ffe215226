from __future__ import annotations

from gateway import Call, Decision, Ending, Outcome
from gateway.errors import QuotaExceeded
from tests.unit.fakes import FakeResponse
from tests.unit.gateway.in_process import config, running
from tests.unit.gateway.plugin_modules import extension, plugin


class Written:
    def __init__(self, error: Exception | None = None) -> None:
        self.rows: list[tuple[Call, Outcome, Decision]] = []
        self.error = error

    def append(self, call: Call, outcome: Outcome, decision: Decision) -> None:
        self.rows.append((call, outcome, decision))
        if self.error is not None:
            raise self.error


class Refuses:
    async def admit(self, call: Call) -> None:
        raise QuotaExceeded("no more", headers=((b"x-ratelimit-limit-requests", b"1"),))


async def test_every_call_is_written_down_before_it_is_let_go_whatever_a_journal_does() -> None:
    bad, good = Written(RuntimeError("full disk")), Written()
    brings = plugin(moegate_journals=lambda: [extension("bad", bad), extension("good", good)])
    settings = config(plugins=[{"use": "bad"}, {"use": "good"}])
    async with running(brings, settings=settings, replies=(FakeResponse(pieces=[b"{}"]),)) as gateway:
        answer = await gateway.ask()
        # No turn of the event loop lies between the end of the answer and this.
        assert [call.call_id for call, _, _ in good.rows] == [answer.headers["x-moegate-call-id"]]
    assert answer.status == 200
    assert len(bad.rows) == 1
    _, outcome, decision = good.rows[0]
    assert (outcome.ending, outcome.checkpoint is not None, decision.chosen) == (Ending.COMPLETED, True, "a")


async def test_refused_calls_too() -> None:
    journal = Written()
    brings = plugin(
        moegate_journals=lambda: [extension("keeps", journal)],
        moegate_admission_policies=lambda: [extension("refuses", Refuses())],
    )
    settings = config(plugins=[{"use": "keeps"}], policies={"admission": [{"use": "refuses"}]})
    async with running(brings, settings=settings) as gateway:
        answer = await gateway.ask()
    assert (answer.status, answer.headers["x-ratelimit-limit-requests"]) == (429, "1")
    assert [outcome.status for _, outcome, _ in journal.rows] == [429]
