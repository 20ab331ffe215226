"""Fault scripts that break HTTP or TCP: cuts, resets, garbage and odd framing; valid HTTP is in fault_streams."""

from dataclasses import replace

from tests.support.scripted_engine.faults import FaultCall, fault
from tests.support.scripted_engine.wire import DONE, SSE_TYPE, head, http_chunk


@fault
async def midstream_cut(call: FaultCall) -> None:
    """Socket closed after option after= content chunks (1), no [DONE], no last chunk; half a body when not streamed."""
    await _partial(call)
    call.cut()


@fault
async def midstream_reset(call: FaultCall) -> None:
    """As midstream_cut, with a TCP reset."""
    await _partial(call)
    call.cut(reset=True)


@fault
async def refuses(call: FaultCall) -> None:
    """The connection is reset without a byte of answer."""
    call.cut(reset=True)


@fault
async def closes(call: FaultCall) -> None:
    """The connection is closed cleanly without a byte of answer, as a keep-alive connection that died."""
    call.cut()


@fault
async def dies_after_answer(call: FaultCall) -> None:
    """The healthy answer without `connection: close`, and then the connection is closed."""
    await call.healthy()
    call.protocol.end_call()
    call.protocol.transport.close()


@fault
async def garbage(call: FaultCall) -> None:
    """Bytes that are not HTTP, then close."""
    call.raw(b"\x16\x03\x01\x02\x00garbage, not HTTP at all\r\n\r\n")
    call.cut()


@fault
async def garbage_in_stream(call: FaultCall) -> None:
    """Healthy head and first events, then a body chunk that is no event and no UTF-8, then a healthy end."""
    call.open()
    events = call.events()
    await call.send(events[0])
    await call.send(b"\xff\xfe\x00not an event\x00\n\n")
    await call.send(*events[1:])
    call.close_body()


@fault
async def bad_chunk_size(call: FaultCall) -> None:
    """Broken chunked framing after option after= pieces of text (1)."""
    call.open()
    await call.begin()
    call.raw(b"ZZZ\r\nbroken\r\n")
    call.cut()


@fault
async def wrong_content_type(call: FaultCall) -> None:
    """200 with text/html, as a proxy's login page."""
    page = b"<html><body>Sign in to continue</body></html>"
    call.raw(head(200, b"text/html", len(page)) + page)


@fault
async def json_for_stream(call: FaultCall) -> None:
    """A whole JSON answer although a stream was asked for."""
    call.answer(200, call.whole())


@fault
async def length_too_long(call: FaultCall) -> None:
    """Content-length promises more than is sent, then close."""
    whole = call.whole()
    call.raw(head(200, b"application/json", len(whole) + 100) + whole)
    call.cut()


@fault
async def no_length(call: FaultCall) -> None:
    """No length and no chunking: the close ends the body."""
    if call.stream:
        call.raw(b"HTTP/1.1 200 OK\r\ncontent-type: " + SSE_TYPE + b"\r\nconnection: close\r\n\r\n")
        call.raw(b"".join(call.events()))
    else:
        call.raw(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n")
        call.raw(call.whole())
    call.protocol.end_call()
    call.protocol.transport.close()


@fault
async def stream_with_length(call: FaultCall) -> None:
    """A healthy stream under content-length instead of chunks."""
    body = b"".join(call.events()) if call.stream else call.whole()
    call.raw(head(200, SSE_TYPE if call.stream else b"application/json", len(body)) + body)


@fault
async def continue_100(call: FaultCall) -> None:
    """Two interim 1xx responses, then the healthy answer."""
    call.raw(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n")
    await call.healthy()


@fault
async def huge_header(call: FaultCall) -> None:
    """A response header of option kib= KiB (256)."""
    filler = b"x" * (call.number("kib", 256) * 1024)
    call.open(extra=b"x-filler: " + filler + b"\r\n")
    await call.send(DONE)
    call.close_body()


@fault
async def endless(call: FaultCall) -> None:
    """A stream that never ends while the client reads: one chunk an interval, at most a million."""
    call.options.setdefault("pause_ms", "1")
    call.open()
    before = call.events(replace(call.turn, content=(" more", "x"), calls=()))[: call.reply.shape.opening + 1]
    await call.send(*before)
    chunk = before[-1]
    for _ in range(1_000_000):
        await call.send(chunk)
        await call.packet_pause()
    call.close_body()


async def _partial(call: FaultCall) -> None:
    if not call.stream:
        whole = call.whole()
        call.raw(head(200, b"application/json", len(whole)) + whole[: len(whole) // 2])
        return
    call.open()
    await call.begin()
    # Half of one more event: what a killed engine leaves in the pipe.
    call.raw(http_chunk(call.events()[-2])[:40])
