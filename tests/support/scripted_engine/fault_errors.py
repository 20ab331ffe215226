"""Scripts of engines that refuse, drain or give up in the middle, each in its own words; broken HTTP is in fault_transport."""

from dataclasses import replace

import msgspec

from tests.support.scripted_engine.dialects.dialect import flat
from tests.support.scripted_engine.dialects.judging import Refusal
from tests.support.scripted_engine.faults import FaultCall, fault

RETRY_AFTER = b"retry-after: 1\r\n"
FAILED = Refusal(500, "Engine failed in the middle.", "InternalServerError")


@fault
async def healthy(call: FaultCall) -> None:
    """No fault at all."""
    await call.healthy()


@fault
async def queue_full(call: FaultCall) -> None:
    """The queue is full, as this engine says it: with a status, or inside a stream that began with 200."""
    call.said(call.dialect.overloaded(call.reply.asked), RETRY_AFTER if call.dialect.retry_after else b"")


@fault
async def queue_full_503(call: FaultCall) -> None:
    """503 at once."""
    call.error(call.dialect.queue_full, RETRY_AFTER if call.dialect.retry_after else b"")


@fault
async def queue_full_in_200(call: FaultCall) -> None:
    """200 and an event stream whose first event is the error (503 when not streamed)."""
    if not call.stream:
        await queue_full_503(call)
        return
    call.open()
    await call.send(*call.error_events(call.dialect.queue_full))
    call.close_body()


@fault
async def drain(call: FaultCall) -> None:
    """The engine shuts down: as this one says it, or by closing if nobody listens any more; some go on to serve."""
    if call.dialect.serves_while_draining:
        await call.healthy()
    elif call.dialect.drain is None:
        call.cut()
    else:
        call.error(call.dialect.drain)


@fault
async def aborted(call: FaultCall) -> None:
    """The engine ends the call after option after= pieces (1): with finish_reason "abort", an error, or by hanging up."""
    if call.dialect.aborts_with == "abort":
        await finish_abort(call)
    elif call.stream and call.dialect.stream_error is None:
        call.open()
        await call.begin()
        call.cut()
    else:
        await midstream_error_event(call)


@fault
async def finish_abort(call: FaultCall) -> None:
    """finish_reason "abort" after option after= pieces (1), then a good end."""
    if not call.stream:
        await call.say(replace(call.turn, content=(), calls=(), finish="abort"))
        return
    call.open()
    begun = await call.begin()
    said = replace(call.turn, content=call.turn.content[: call.number("after", 1)], calls=(), finish="abort")
    await call.send(*call.events(said)[begun:])
    call.close_body()


@fault
async def error_400(call: FaultCall) -> None:
    """400."""
    call.error(Refusal(400, "top_p must be above 0 and at most 1.", param="top_p"))


@fault
async def error_context(call: FaultCall) -> None:
    """400: prompt and answer do not fit into the context, in this engine's words."""
    call.said(call.dialect.refused(call.reply.asked, call.dialect.judge.too_long))


@fault
async def error_leaks(call: FaultCall) -> None:
    """400 whose text tells paths and addresses."""
    said = "File /opt/venv/lib/serving.py, line 7: tcp://10.1.2.3:5557 and http://10.1.2.3:8000/internal refused 10.1.2.3:9000"
    call.error(Refusal(400, said))


@fault
async def error_429(call: FaultCall) -> None:
    """429 with retry-after."""
    call.error(Refusal(429, "Too many requests.", "RateLimitError"), b"retry-after: 7\r\n")


@fault
async def error_500(call: FaultCall) -> None:
    """500 with text that must not reach a client."""
    call.error(Refusal(500, "EngineCore died at /opt/engine/core.py:17", "InternalServerError"))


@fault
async def error_flat(call: FaultCall) -> None:
    """400 (option status=) in SGLang's flat shape, whatever the engine."""
    refusal = Refusal(call.number("status", 400), "Requested token count exceeds the limit.")
    call.answer(refusal.status, msgspec.json.encode(flat(call.reply.asked.operation, refusal)))


@fault
async def error_detail(call: FaultCall) -> None:
    """400 (option status=) in the shape of the web framework under three engines."""
    call.answer(call.number("status", 400), b'{"detail":"Requested token count exceeds the limit."}')


@fault
async def error_plain(call: FaultCall) -> None:
    """401 (option status=) with the error as a string, as where an engine wants another key than ours."""
    call.answer(call.number("status", 401), b'{"error":"Unauthorized"}')


@fault
async def midstream_error_event(call: FaultCall) -> None:
    """An error event after option after= pieces (1), and what this engine sends after it (500 when not streamed)."""
    if not call.stream:
        call.error(FAILED)
        return
    call.open()
    await call.begin()
    await call.send(*call.error_events(FAILED))
    call.close_body()
