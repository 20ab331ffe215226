from __future__ import annotations

import pytest

from gateway import Attribution, Call, Replica
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


BRINGS = plugin(
    moegate_attribution_policies=lambda: [
        extension("display", Display(b"x-display")),
        extension("again", Display(b"x-again")),
        extension("forbids", Forbids()),
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
