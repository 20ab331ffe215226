"""Engines that refuse, crash, lie or never end, and what is said of them."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from gateway import Operation, UpstreamRequest
from plugins.engine_verify.prompts import FIXED_SET, Prompt
from plugins.engine_verify.report import exit_status
from plugins.engine_verify.verifying import Task, verify_model
from tests.unit.plugins.engine_verify.small_engine import SmallBackend, SmallEngine, access, client
from tests.unit.plugins.engine_verify.verification import ALL_SAME, TASK, verdicts, verified


async def test_one_refused_prompt_spoils_no_other() -> None:
    engine = SmallEngine(refuses=lambda _, body: 400 if body.get("tools") else None)
    found = (await verified(engine)).of("candidate")
    assert verdicts(found) == {**ALL_SAME, "tools": "cannot tell"}
    assert "4 could not be compared (refused with 400: it says no)" in str(found.findings)


async def test_an_objection_of_the_backend_is_an_answer() -> None:
    class Objecting(SmallBackend):
        def objection(self, call: Any, replica: Any) -> str | None:
            return "this engine has no log-probabilities" if "logprobs" in call.fields else None

    found = (await verified(SmallEngine(), backend=Objecting())).of("candidate")
    assert "this engine has no log-probabilities" in str(found.findings)


@pytest.mark.parametrize("status", [400, 401, 500, 503])
async def test_a_replica_that_answers_nothing_cannot_be_asked(status: int) -> None:
    report = await verified(SmallEngine(refuses=lambda path, _: status if path != "/models" else None))
    found = report.of("candidate")
    assert found.unreachable is not None
    assert found.unreachable.startswith(f"not one of {len(FIXED_SET)} prompts was answered: refused with {status}")
    assert exit_status([report]) == 2


async def test_an_engine_that_reports_no_usage_is_still_compared() -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        answer = SmallEngine(tells_ids=False).handle(request)
        content = answer.json()
        if request.url.host == "candidate":
            content.pop("usage", None)
        return httpx.Response(answer.status_code, json=content)

    async with httpx.AsyncClient(transport=httpx.MockTransport(handle)) as http:
        candidate = access("candidate", SmallBackend([Operation.CHAT, Operation.COMPLETIONS]))
        report = await verify_model("kimi-k2", access("reference"), [candidate], TASK, http)
    found = report.of("candidate")
    assert verdicts(found) == {**ALL_SAME, **dict.fromkeys(("tokenizer", "template", "tools"), "cannot tell")}
    assert "the engine reports no usage" in str(found.findings)


async def test_a_backend_that_crashes_stops_no_other() -> None:
    class Crashing(SmallBackend):
        def prepare(self, call: Any, replica: Any, attempt_id: str) -> UpstreamRequest:
            raise KeyError("very-private")

    async with client(reference=SmallEngine(), good=SmallEngine(), bad=SmallEngine()) as http:
        others = [access("bad", Crashing()), access("good")]
        report = await verify_model("kimi-k2", access("reference"), others, TASK, http)
    assert report.of("bad").unreachable == "its backend cannot write a request: KeyError"
    assert verdicts(report.of("good")) == ALL_SAME


async def test_a_wrong_name_is_a_difference_although_nothing_is_answered() -> None:
    engine = SmallEngine(served=["other"], refuses=lambda path, _: 404 if path != "/models" else None)
    report = await verified(engine)
    assert verdicts(report.of("candidate")) == {"model": "differs"}
    assert exit_status([report]) == 1


async def test_a_replica_that_is_down_stops_no_other() -> None:
    async with client(reference=SmallEngine(), good=SmallEngine()) as http:
        others = [access("down"), access("good")]
        report = await verify_model("kimi-k2", access("reference"), others, TASK, http)
    assert report.of("down").unreachable == "/models: it accepts no connection"
    assert verdicts(report.of("good")) == ALL_SAME
    assert exit_status([report]) == 2


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        (httpx.ConnectTimeout, "/models: it accepts no connection"),
        (httpx.ReadTimeout, "/models: it does not answer in time"),
        (httpx.RemoteProtocolError, "/models: the connection broke (RemoteProtocolError)"),
    ],
)
async def test_why_there_was_no_answer(trouble: type[httpx.TransportError], said: str) -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        raise trouble("10.1.2.3:8000 is very private", request=request)

    async with httpx.AsyncClient(transport=httpx.MockTransport(handle)) as http:
        report = await verify_model("kimi-k2", access("a"), [], TASK, http)
    assert report.of("a").unreachable == said


async def test_without_the_reference_nothing_is_compared() -> None:
    async with client(good=SmallEngine()) as http:
        report = await verify_model("kimi-k2", access("down"), [access("good")], TASK, http)
    assert [each.unreachable is not None for each in report.replicas] == [True, True]
    assert exit_status([report]) == 2


async def test_an_endless_answer_is_not_read_to_its_end() -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=b" " * (17 * 1024 * 1024))

    async with httpx.AsyncClient(transport=httpx.MockTransport(handle)) as http:
        task = Task((Prompt(name="p", text="bcb"),), 4)
        report = await verify_model("kimi-k2", access("a"), [], task, http)
    assert "an answer of more than" in (report.of("a").unreachable or "")
