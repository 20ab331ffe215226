from __future__ import annotations

import msgspec
import pytest

from gateway import Call
from gateway.errors import InvalidRequest
from tests.unit.builders import BODY
from tests.unit.fakes import FakeResponse
from tests.unit.gateway.in_process import config, running
from tests.unit.gateway.plugin_modules import extension, plugin


class Appends:
    """Adds a mark to the body."""

    def __init__(self, mark: bytes) -> None:
        self.mark = mark

    async def transform(self, call: Call) -> Call:
        return msgspec.structs.replace(call, body=call.body + self.mark)


class Fails:
    def __init__(self, error: Exception) -> None:
        self.error = error

    async def transform(self, call: Call) -> Call:
        raise self.error


async def test_calls_are_changed_in_the_order_of_the_configuration() -> None:
    brings = plugin(moegate_call_transforms=lambda: [extension("x", Appends(b" x")), extension("y", Appends(b" y"))])
    settings = config(plugins=[{"use": "y"}, {"use": "x"}])
    async with running(brings, settings=settings, replies=(FakeResponse(pieces=[b"{}"]),)) as gateway:
        assert (await gateway.ask()).status == 200
    assert gateway.connections.sent[0].body == BODY + b" y x"


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [(InvalidRequest("Too long a history."), 400, "invalid_request"), (KeyError("x"), 500, "policy_failed")],
)
async def test_one_may_refuse_and_must_not_crash(error: Exception, status: int, code: str) -> None:
    brings = plugin(moegate_call_transforms=lambda: [extension("fails", Fails(error))])
    async with running(brings, settings=config(plugins=[{"use": "fails"}])) as gateway:
        answer = await gateway.ask()
    assert (answer.status, answer.error["code"], gateway.asked) == (status, code, [])
