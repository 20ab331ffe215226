from __future__ import annotations

from gateway import Call, Decision, Ending, Outcome
from gateway.errors import UpstreamUnreachable
from tests.unit.fakes import EVENT_STREAM, FakeResponse
from tests.unit.gateway.in_process import STREAMED, config, running
from tests.unit.gateway.plugin_modules import extension, plugin


class Keeps:
    def __init__(self, error: Exception | None = None) -> None:
        self.records: list[tuple[Call, Outcome, Decision]] = []
        self.error = error

    async def record(self, call: Call, outcome: Outcome, decision: Decision) -> None:
        self.records.append((call, outcome, decision))
        if self.error is not None:
            raise self.error


SETTINGS = config("a", "b", plugins=[{"use": "bad"}, {"use": "keeps"}])


async def test_every_finished_call_is_handed_over_with_its_outcome_and_its_decision() -> None:
    bad, keeps = Keeps(RuntimeError("full disk")), Keeps()
    brings = plugin(moegate_recorders=lambda: [extension("keeps", keeps), extension("bad", bad)])
    replies = (
        UpstreamUnreachable("dead"),
        FakeResponse(pieces=[b"{}"]),
        FakeResponse(headers=EVENT_STREAM, pieces=[b"data: a\n\n"]),
    )
    async with running(brings, settings=SETTINGS, replies=replies) as gateway:
        first, second = await gateway.ask(), await gateway.ask(body=STREAMED)
    assert [call.call_id for call, _, _ in keeps.records] == [
        answer.headers["x-moegate-call-id"] for answer in (first, second)
    ]
    (_, good, decision), (call, cut, _) = keeps.records
    assert (good.ending, good.status, good.error_code) == (Ending.COMPLETED, 200, None)
    assert [(attempt.replica, attempt.error_code) for attempt in good.attempts] == [
        ("a", "upstream_unreachable"),
        ("b", None),
    ]
    assert (decision.candidates, decision.chosen) == (("a", "b"), "b")
    assert (cut.ending, cut.status, cut.error_code, call.stream) == (Ending.FAILED, 200, "upstream_broken", True)
    assert len(bad.records) == 2


async def test_a_request_that_never_became_a_call_is_not_handed_over() -> None:
    keeps = Keeps()
    brings = plugin(moegate_recorders=lambda: [extension("keeps", keeps)])
    async with running(brings, settings=config(plugins=[{"use": "keeps"}])) as gateway:
        assert (await gateway.ask(body=b"nonsense")).status == 400
        assert (await gateway.ask("/v1/models", method="GET")).status == 200
    assert keeps.records == []


async def test_what_was_put_before_the_stop_is_recorded_before_it() -> None:
    keeps = Keeps()
    brings = plugin(moegate_recorders=lambda: [extension("keeps", keeps)])
    settings = config(plugins=[{"use": "keeps"}])
    replies = tuple(FakeResponse(pieces=[b"{}"]) for _ in range(20))
    async with running(brings, settings=settings, replies=replies) as gateway:
        for _ in range(20):
            await gateway.ask()
    assert len(keeps.records) == 20
