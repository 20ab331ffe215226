"""Scripts of engines that answer well but oddly: odd events and odd timing; broken HTTP is in fault_transport."""

from collections.abc import Callable
from dataclasses import replace

import msgspec

from tests.support.scripted_engine.asked import Json
from tests.support.scripted_engine.faults import FaultCall, fault
from tests.support.scripted_engine.wire import head, json_response

MULTIBYTE_START = 0xC0
MULTIBYTE = "Kimi 月之暗面 naïve 🚀"


@fault
async def first_byte_stall(call: FaultCall) -> None:
    """Nothing at all until released, then the healthy answer."""
    await call.gate()
    await call.healthy()


@fault
async def hang_after_headers(call: FaultCall) -> None:
    """The head at once, then nothing until released, then the healthy body."""
    if not call.stream:
        whole = call.whole()
        call.raw(head(200, b"application/json", len(whole)))
        await call.gate()
        call.raw(whole)
        return
    call.open()
    await call.gate()
    await call.send(*call.events())
    call.close_body()


@fault
async def slow(call: FaultCall) -> None:
    """Waits at the gate after option after= content chunks (1), then goes on; when not streamed, before the answer."""
    if not call.stream:
        await first_byte_stall(call)
        return
    call.open()
    before = call.beginning()
    await call.send(*before)
    await call.gate()
    await call.send(*call.events()[len(before) :])
    call.close_body()


@fault
async def no_done(call: FaultCall) -> None:
    """A healthy stream that ends cleanly without its last event, which is [DONE] where there is one."""
    if not call.stream:
        await call.healthy()
        return
    call.open()
    begun = await call.begin()
    await call.send(*call.events()[begun:-1])
    call.close_body()


@fault
async def missing_usage(call: FaultCall) -> None:
    """Healthy, but without usage even if asked."""
    if not call.stream:
        call.answer(200, msgspec.json.encode(_uncounted(msgspec.json.decode(call.whole()))))
        return
    call.open()
    for event in call.events(counted=False):
        name, data, payload = event.partition(b"data: ")
        known = payload.startswith(b"{") and b'"usage"' in payload
        kept = msgspec.json.encode(_uncounted(msgspec.json.decode(payload))) + b"\n\n" if known else payload
        await call.send(name + data + kept)
    call.close_body()


def _uncounted(payload: Json) -> Json:
    """An answer or an event without its usage, wherever it stands."""
    return {
        name: _uncounted(value) if name in ("message", "response") else value
        for name, value in payload.items()
        if name != "usage"
    }


@fault
async def utf8_split(call: FaultCall) -> None:
    """Multibyte text whose characters are split across TCP writes (and across body chunks when streamed)."""
    turn = replace(call.turn, content=(MULTIBYTE, "!"), calls=())
    call.options.setdefault("pause_ms", "5")
    if not call.stream:
        whole = call.whole(turn)
        call.raw(head(200, b"application/json", len(whole)))
        for piece in _split_inside_characters(whole):
            call.raw(piece)
            await call.packet_pause()
        return
    call.open()
    for event in call.events(turn):
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
        whole = json_response(200, call.whole())
        for index in range(len(whole)):
            call.raw(whole[index : index + 1])
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
    turn = replace(call.turn, content=("x" * (call.number("kib", 1024) * 1024),), calls=())
    if not call.stream:
        await call.say(turn)
        return
    call.open()
    # At once, so that it is the event that decides whether the engine answers.
    await call.send(*call.events(turn)[call.reply.shape.opening :])
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
