from __future__ import annotations

import msgspec
import pytest
import structlog

from gateway import Call, Decision, Ending, Replica, Step, UpstreamRequest, Usage
from gateway.errors import (
    InvalidRequest,
    QueueTimeout,
    QuotaExceeded,
    UpstreamBroken,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from tests.unit.builders import make_pool
from tests.unit.fakes import FakeBackend, FakeResponse
from tests.unit.gateway.dataplane.scene import Scene, stream

DONE = b"data: [DONE]\n\n"


async def test_a_call_that_goes_well() -> None:
    scene = Scene(FakeResponse(pieces=[b"the answer"]))
    outcome = await scene.serve(body=b"body")
    scene.check_settled_once()
    assert scene.client.writes == [b"the answer"]
    assert scene.connections.sent[0].body == b"body!"
    assert (outcome.ending, outcome.status, outcome.error_code) == (Ending.COMPLETED, 200, None)
    assert outcome.usage == Usage(prompt_tokens=1, completion_tokens=10)
    assert 0 <= (outcome.placed_seconds or -1) <= (outcome.first_byte_seconds or -1) <= outcome.total_seconds
    assert scene.recorded[0][2] == Decision(candidates=("a",), steps=(Step(policy="routing", left=("a",)),), chosen="a")


async def test_a_stream_that_goes_well() -> None:
    scene = Scene(stream(b"data: a\n\n", b"data: b\n\n", DONE))
    outcome = await scene.serve(stream=True)
    scene.check_settled_once()
    assert scene.client.complete
    assert (outcome.ending, outcome.streamed_events) == (Ending.COMPLETED, 3)


async def test_waiting_too_long_in_a_queue_is_a_time_out() -> None:
    scene = Scene(FakeResponse(pieces=[b"never"]))
    scene.fails["admit"] = QueueTimeout("too long")
    outcome = await scene.serve()
    assert (outcome.ending, outcome.status, outcome.error_code) == (Ending.TIMED_OUT, 504, "queue_timeout")


@pytest.mark.parametrize(
    ("stage", "settles"), [("transform", False), ("admit", False), ("rank", True), ("annotate", True)]
)
@pytest.mark.parametrize(
    ("error", "code", "status"),
    [(QuotaExceeded("no more"), "quota_exceeded", 429), (KeyError("inside"), "policy_failed", 500)],
)
async def test_a_stage_that_refuses_or_crashes(
    stage: str, settles: bool, error: Exception, code: str, status: int
) -> None:
    scene = Scene(FakeResponse(pieces=[b"never"]))
    scene.fails[stage] = error
    outcome = await scene.serve()
    assert len(scene.settled) == settles
    assert scene.client.failure is not None
    assert scene.client.failure.code == outcome.error_code == code
    assert (outcome.ending, outcome.status) == (Ending.FAILED, status)
    assert scene.connections.sent == []
    assert scene.replicas[0].in_flight == 0


async def test_a_crash_of_our_own_is_a_failure_like_any_other() -> None:
    scene = Scene(RuntimeError("a bug"))
    outcome = await scene.serve()
    scene.check_settled_once()
    assert (outcome.error_code, outcome.status) == ("internal_error", 500)
    assert "a bug" not in str(scene.client.failure)


async def test_an_engine_that_cannot_be_reached() -> None:
    scene = Scene(UpstreamUnreachable("dead"), UpstreamUnreachable("dead too"), replicas=2)
    outcome = await scene.serve()
    scene.check_settled_once()
    assert (outcome.ending, outcome.status, outcome.error_code) == (Ending.FAILED, 502, "upstream_unreachable")
    assert [attempt.replica for attempt in outcome.attempts] == ["a", "b"]
    assert scene.recorded[0][2].chosen is None


@pytest.mark.parametrize("answered", [False, True])
async def test_what_was_changed_is_in_the_record_of_a_failed_call_too(
    answered: bool,
) -> None:
    class Edits(FakeBackend):
        def prepare(self, call: Call, replica: Replica, attempt_id: str) -> UpstreamRequest:
            request = super().prepare(call, replica, attempt_id)
            return msgspec.structs.replace(
                request, transforms=(f"for {replica.name}",), dropped_params=(f"{replica.name}_param",)
            )

    last = FakeResponse(pieces=[b"the answer"]) if answered else UpstreamUnreachable("dead too")
    scene = Scene(UpstreamUnreachable("dead"), last, replicas=2)
    scene.pool = make_pool(*scene.replicas, backend=Edits())
    outcome = await scene.serve()
    assert (outcome.transforms, outcome.dropped_params) == (("for b",), ("b_param",))


async def test_an_engine_that_is_silent_is_a_call_that_timed_out() -> None:
    scene = Scene(UpstreamTimeout("late"))
    outcome = await scene.serve()
    assert (outcome.ending, outcome.status) == (Ending.TIMED_OUT, 504)


async def test_a_failure_in_the_middle_of_a_stream_keeps_the_status_that_was_sent() -> None:
    scene = Scene(stream(b"data: a\n\n", UpstreamBroken("cut")))
    outcome = await scene.serve(stream=True)
    scene.check_settled_once()
    assert (outcome.ending, outcome.status, outcome.error_code) == (Ending.FAILED, 200, "upstream_broken")
    assert outcome.streamed_events == 1
    assert scene.client.failure is not None


async def test_no_replica() -> None:
    scene = Scene()
    scene.replicas[0].in_flight = 4
    outcome = await scene.serve()
    assert (outcome.status, outcome.error_code) == (503, "no_replica_available")
    assert len(scene.settled) == 1


# The log


async def test_a_failed_call_is_logged_once_with_its_reason() -> None:
    scene = Scene()
    scene.fails["admit"] = InvalidRequest("the reason")
    with structlog.testing.capture_logs() as logs:
        await scene.serve()
    (line,) = [line for line in logs if line["event"] == "call failed"]
    assert (line["log_level"], line["error"], line["reason"]) == ("info", "invalid_request", "the reason")
