from __future__ import annotations

import json

import pytest

from gateway import Attribution, Call, Checkpoint, Decision, Outcome, Replica
from gateway.errors import Rejected, UpstreamOverloaded
from tests.unit.builders import BODY
from tests.unit.fakes import EVENT_STREAM, FakeResponse
from tests.unit.gateway.in_process import STREAMED, config, running
from tests.unit.gateway.plugin_modules import extension, plugin


class Display:
    """Shows which weights serve."""

    def __init__(self, header: bytes) -> None:
        self.header = header

    def annotate(self, call: Call, replica: Replica) -> Attribution:
        return Attribution(((self.header, f"{replica.name} {replica.checkpoint.id}".encode()),))


class Forbids:
    def annotate(self, call: Call, replica: Replica) -> Attribution:
        raise Rejected(f"Not from {replica.checkpoint.id}.")


class Remembers:
    """Refuses, and says what to keep of it."""

    def annotate(self, call: Call, replica: Replica) -> Attribution:
        error = Rejected("No.")
        error.record = f"kept back from {replica.name}"
        raise error


class Remarks:
    """Has something for the answer's body."""

    def annotate(self, call: Call, replica: Replica) -> Attribution:
        return Attribution(in_answer=b'{"of":"%s"}' % replica.name.encode())

    def describe(self, checkpoint: Checkpoint) -> dict[str, str]:
        return {"id": checkpoint.id}


class Keeps:
    """A journal in memory."""

    def __init__(self) -> None:
        self.kept: list[tuple[str, ...]] = []

    def append(self, call: Call, outcome: Outcome, decision: Decision) -> None:
        self.kept.append(outcome.attribution)


BRINGS = plugin(
    moegate_attribution_policies=lambda: [
        extension("display", Display(b"x-display")),
        extension("again", Display(b"x-again")),
        extension("forbids", Forbids()),
        extension("remembers", Remembers()),
        extension("remarks", Remarks()),
    ]
)
SETTINGS = config("a", "b", policies={"attribution": [{"use": "display"}, {"use": "again"}]})
SHOWN = "moonshotai/Kimi-K2-Instruct"


@pytest.mark.parametrize("streamed", [False, True])
async def test_what_must_be_shown_is_in_the_headers_of_the_replica_that_serves(streamed: bool) -> None:
    response = (
        FakeResponse(headers=EVENT_STREAM, pieces=[b"data: [DONE]\n\n"]) if streamed else FakeResponse(pieces=[b"{}"])
    )
    replies = (UpstreamOverloaded("full"), response)
    async with running(BRINGS, settings=SETTINGS, replies=replies) as gateway:
        answer = await gateway.ask(body=STREAMED if streamed else BODY)
    assert answer.status == 200
    assert answer.headers["x-display"] == answer.headers["x-again"] == f"b {SHOWN}"
    assert [name for name, _ in answer.header_list].count("x-display") == 1


async def test_a_policy_may_refuse_before_any_engine_is_asked() -> None:
    settings = config(policies={"attribution": [{"use": "forbids"}]})
    async with running(BRINGS, settings=settings) as gateway:
        answer = await gateway.ask()
    assert (answer.status, answer.error["message"], gateway.asked) == (403, f"Not from {SHOWN}.", [])


async def test_of_a_refusal_the_ledger_keeps_what_the_policy_says() -> None:
    journal = Keeps()
    keeping = plugin(moegate_journals=lambda: [extension("keeps", journal)])
    settings = config(policies={"attribution": [{"use": "remembers"}]}, plugins=[{"use": "keeps"}])
    async with running(BRINGS, keeping, settings=settings) as gateway:
        await gateway.ask()
    assert journal.kept == [("kept back from a",)]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"choices":[]}', b'{"choices":[],"moegate":{"attribution":{"of":"b"}}}'),
        (b"{ }\n", b'{"moegate":{"attribution":{"of":"b"}}}'),
        (b"[1]", b"[1]"),
    ],
)
async def test_a_remark_is_the_last_field_of_an_answer_of_the_weights_that_serve(body: bytes, expected: bytes) -> None:
    settings = config("a", "b", policies={"attribution": [{"use": "remarks"}]})
    replies = (UpstreamOverloaded("full"), FakeResponse(pieces=[body]))
    async with running(BRINGS, settings=settings, replies=replies) as gateway:
        answer = await gateway.ask()
    assert answer.body == expected
    assert answer.headers["content-length"] == str(len(expected))


async def test_a_remark_is_a_comment_after_the_end_of_a_stream() -> None:
    settings = config(policies={"attribution": [{"use": "remarks"}]})
    events = b"data: [DONE]\n\n"
    async with running(
        BRINGS, settings=settings, replies=(FakeResponse(headers=EVENT_STREAM, pieces=[events]),)
    ) as gateway:
        answer = await gateway.ask(body=STREAMED)
    assert answer.body == events + b': moegate.attribution {"of":"a"}\n\n'


async def test_models_are_shown_with_what_a_policy_says_of_their_weights() -> None:
    settings = config("a", "b", policies={"attribution": [{"use": "remarks"}, {"use": "display"}]})
    async with running(BRINGS, settings=settings) as gateway:
        shown = json.loads((await gateway.ask("/v1/models/kimi-k2", b"", method="GET")).body)
    assert shown["licences"] == [{"id": SHOWN}]
