"""Fault scripts that stay valid HTTP: errors, odd events and odd timing; broken HTTP is in fault_transport."""

from collections.abc import Callable

import msgspec

from tests.support.scripted_engine.answers import DONE, WORDS, error_body, flat_error_body, head, sse
from tests.support.scripted_engine.faults import FaultCall, fault

MULTIBYTE_START = 0xC0
QUEUE_FULL = "The request queue is full."


@fault
async def queue_full_503(call: FaultCall) -> None:
    """503 at once, vLLM's shape."""
    call.error(503, QUEUE_FULL, "ServiceUnavailableError")


@fault
async def queue_full_in_200(call: FaultCall) -> None:
    """200 and an event stream whose first event is the error, then [DONE] (503 when not streamed)."""
    if not call.stream:
        call.error(503, QUEUE_FULL, "ServiceUnavailableError", flat=True)
        return
    call.open()
    await call.send(sse(b'{"error":' + flat_error_body(503, QUEUE_FULL, "ServiceUnavailableError") + b"}"))
    await call.send(DONE)
    call.close_body()


@fault
async def error_400(call: FaultCall) -> None:
    """400, vLLM's shape."""
    call.error(400, "This model's maximum context length is 4096 tokens.", "BadRequestError")


@fault
async def error_429(call: FaultCall) -> None:
    """429 with retry-after, vLLM's shape."""
    call.error(429, "Too many requests.", "RateLimitError", extra=b"retry-after: 7\r\n")


@fault
async def error_500(call: FaultCall) -> None:
    """500, vLLM's shape, with text that must not reach a client."""
    call.error(500, "EngineCore died at /opt/engine/core.py:17", "InternalServerError")


@fault
async def error_flat(call: FaultCall) -> None:
    """400 (option status=), SGLang's flat shape."""
    call.error(call.number("status", 400), "Requested token count exceeds the limit.", "BadRequestError", flat=True)


@fault
async def first_byte_stall(call: FaultCall) -> None:
    """Nothing at all until released, then the healthy answer."""
    await call.gate()
    await call.healthy()


@fault
async def hang_after_headers(call: FaultCall) -> None:
    """The head at once, then nothing until released, then the healthy body."""
    if not call.stream:
        whole = call.dialect.whole()
        call.raw(head(200, b"application/json", len(whole)))
        await call.gate()
        call.raw(whole)
        return
    call.open()
    await call.gate()
    for event in call.events():
        await call.send(event)
    call.close_body()


@fault
async def slow(call: FaultCall) -> None:
    """Waits at the gate after option after= content chunks (1), then goes on; when not streamed, before the answer."""
    if not call.stream:
        await first_byte_stall(call)
        return
    call.open()
    opening = 1 if call.dialect.chat else 0
    for index, event in enumerate(call.events()):
        if index == call.number("after", 1) + opening:
            await call.gate()
        await call.send(event)
    call.close_body()


@fault
async def midstream_error_event(call: FaultCall) -> None:
    """An error event after option after= content chunks (1), a clean end without [DONE] (500 when not streamed)."""
    if not call.stream:
        call.error(500, "Engine failed.", "InternalServerError")
        return
    call.open()
    for event in call.events()[: call.number("after", 1) + (1 if call.dialect.chat else 0)]:
        await call.send(event)
    await call.send(sse(error_body(500, "Engine failed in the middle.", "InternalServerError")))
    call.close_body()


@fault
async def no_done(call: FaultCall) -> None:
    """A healthy stream that ends cleanly without [DONE]."""
    if not call.stream:
        await call.healthy()
        return
    call.open()
    for event in call.events()[:-1]:
        await call.send(event)
    call.close_body()


@fault
async def missing_usage(call: FaultCall) -> None:
    """Healthy, but without usage even if asked."""
    if not call.stream:
        call.answer(200, call.dialect.whole(with_usage=False))
        return
    call.open()
    for event in call.events(msgspec.structs.replace(call.peek, stream_options=None)):
        await call.send(event)
    call.close_body()


@fault
async def finish_abort(call: FaultCall) -> None:
    """finish_reason "abort" after option after= content chunks (1), as SGLang ends a dropped call."""
    if not call.stream:
        call.answer(200, call.dialect.whole("", "abort"))
        return
    call.open()
    for event in call.events()[: call.number("after", 1) + (1 if call.dialect.chat else 0)]:
        await call.send(event)
    await call.send(call.dialect.chunk("", "abort"))
    await call.send(DONE)
    call.close_body()


@fault
async def no_finish(call: FaultCall) -> None:
    """Content, then [DONE] with no finish_reason ever given."""
    if not call.stream:
        await call.healthy()
        return
    call.open()
    for word in WORDS[:3]:
        await call.send(call.dialect.chunk(word))
    await call.send(DONE)
    call.close_body()


@fault
async def utf8_split(call: FaultCall) -> None:
    """Multibyte text whose characters are split across TCP writes (and across body chunks when streamed)."""
    text = "Kimi 月之暗面 naïve 🚀"
    call.options.setdefault("pause_ms", "5")
    if not call.stream:
        whole = call.dialect.whole(text)
        call.raw(head(200, b"application/json", len(whole)))
        pieces, write = _split_inside_characters(whole), call.raw
        for piece in pieces:
            write(piece)
            await call.packet_pause()
        return
    call.open()
    for event in (call.dialect.chunk(text), call.dialect.chunk("!", "stop"), DONE):
        for piece in _split_inside_characters(event):
            await call.send(piece)
            await call.packet_pause()
    call.close_body()


@fault
async def crlf(call: FaultCall) -> None:
    """A healthy stream whose event lines end in CRLF."""
    await _rewritten(call, lambda event: event.replace(b"\n", b"\r\n"))


@fault
async def comments(call: FaultCall) -> None:
    """A healthy stream with a comment line before every event and an event of a comment alone."""
    await _rewritten(call, lambda event: b": keep-alive\n\n: ping 1\n" + event)


@fault
async def two_events_one_packet(call: FaultCall) -> None:
    """A healthy stream with two events in each body chunk."""
    if not call.stream:
        await call.healthy()
        return
    call.open()
    events = call.events()
    for index in range(0, len(events), 2):
        await call.send(b"".join(events[index : index + 2]))
    call.close_body()


@fault
async def event_across_packets(call: FaultCall) -> None:
    """A healthy stream, each event in two body chunks, cut inside its JSON."""
    if not call.stream:
        await call.healthy()
        return
    call.open()
    for event in call.events():
        await call.send(event[: len(event) // 2])
        await call.packet_pause()
        await call.send(event[len(event) // 2 :])
    call.close_body()


@fault
async def one_byte_packets(call: FaultCall) -> None:
    """The healthy answer, one byte a write (one byte a body chunk when streamed)."""
    if not call.stream:
        for index in range(len(call.prebuilt.whole)):
            call.raw(call.prebuilt.whole[index : index + 1])
            await call.packet_pause()
        return
    call.open()
    for event in call.events():
        for index in range(len(event)):
            await call.send(event[index : index + 1])
            await call.packet_pause()
    call.close_body()


@fault
async def huge_event(call: FaultCall) -> None:
    """One content chunk of option kib= KiB (1024), then a healthy end."""
    text = "x" * (call.number("kib", 1024) * 1024)
    if not call.stream:
        call.answer(200, call.dialect.whole(text))
        return
    call.open()
    await call.send(call.dialect.chunk(text))
    await call.send(call.dialect.chunk("", "stop"))
    await call.send(DONE)
    call.close_body()


async def _rewritten(call: FaultCall, rewrite: Callable[[bytes], bytes]) -> None:
    if not call.stream:
        await call.healthy()
        return
    call.open()
    for event in call.events():
        await call.send(rewrite(event))
    call.close_body()


def _split_inside_characters(data: bytes) -> list[bytes]:
    """Cut after the first byte of every multibyte character."""
    pieces, start = [], 0
    for index, byte in enumerate(data):
        if byte >= MULTIBYTE_START:
            pieces.append(data[start : index + 1])
            start = index + 1
    return [*pieces, data[start:]]
