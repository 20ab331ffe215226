"""Streams of every dialect against a reader that decodes everything, slowly: the client sees the same, byte tests or not."""

from __future__ import annotations

import copy
import json
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from backends.answers.tool_leaks import ARGUMENT_BEGIN, CALL_BEGIN, CALL_END, MARKERS, LeakedCall, LeakScanner
from backends.sent import Sent
from gateway import Usage
from gateway.dataplane import sse
from tests.unit.backends.answers.asking import ENDS, SEPARATORS, Writer, meter, payloads, said, with_tools

Chunk = dict[str, Any]

TRICKY = ['"usage":{', '"finish_reason":"stop"', "[DONE]", '"error"', '": "', "error:", "\\", '"', '\\"', '"model":"e"']
TEXTS = st.one_of(st.text(st.characters(exclude_categories=("Cs",)), max_size=6), st.sampled_from(TRICKY))
USAGES = st.sampled_from(
    [
        {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12},
        {"prompt_tokens": 5, "completion_tokens": 7, "prompt_tokens_details": None, "reasoning_tokens": 0},
        {"prompt_tokens": 5, "completion_tokens": 8, "prompt_tokens_details": {"cached_tokens": 3}},
        {"prompt_tokens": 5, "completion_tokens": 8, "completion_tokens_details": {"reasoning_tokens": 3}},
    ]
)
EXTRAS = st.sampled_from(
    [{}, {"logprobs": None}, {"logprobs": {"content": [{"token": "<", "logprob": -0.25}]}}, {"stop_reason": 7}]
)


@st.composite
def chunks(draw: st.DrawFn, keys: list[str], model: str) -> list[Chunk]:
    """What an engine says, one field of text a chunk, with nulls and usage beside it now and then."""
    made = []
    beside = draw(st.booleans())
    nulls = draw(st.booleans())
    extra = draw(EXTRAS)
    for _ in range(draw(st.integers(1, 12))):
        key, index = draw(st.sampled_from(keys)), draw(st.sampled_from([0, 0, 0, 1]))
        delta = {**(dict.fromkeys(keys) if nulls else {}), key: draw(TEXTS)}
        chunk = {"id": "i", "created": 7, "model": model}
        chunk["choices"] = [{"index": index, "delta": delta, "finish_reason": None, **extra}]
        if beside:
            chunk["usage"] = draw(st.none() | USAGES)
        made.append(chunk)
    made.append({"id": "i", "model": model, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    if draw(st.booleans()):
        made.append({"id": "i", "model": model, "choices": [], "usage": draw(USAGES)})
    return made


@st.composite
def packed(draw: st.DrawFn, made: list[Chunk]) -> list[bytes]:
    """The events as one kind of engine writes them, in packets of one or more, comments between them."""
    writer = Writer(draw(st.sampled_from(list(SEPARATORS))), draw(st.sampled_from(list(ENDS))))
    packets = [b""]
    for event in [*map(writer.event, made), writer.done]:
        packets[-1] += (b": ping\n\n" if draw(st.integers(0, 9)) == 0 else b"") + event
        if draw(st.integers(0, 3)):
            packets.append(b"")
    return [packet for packet in packets if packet]


def expected(made: list[Chunk], *, wants_usage: bool, wanted: tuple[str, ...]) -> tuple[list[Any], Usage | None]:
    """What the client shall see, and the usage that shall be known."""
    seen: list[Any] = []
    known = Usage()
    is_known = False
    for chunk in copy.deepcopy(made):
        chunk["model"] = "kimi-k2"
        usage = chunk.get("usage")
        if usage is not None:
            is_known = True
            details = usage.get("prompt_tokens_details") or {}, usage.get("completion_tokens_details") or {}
            known.prompt_tokens, known.completion_tokens = usage["prompt_tokens"], usage["completion_tokens"]
            known.cached_tokens = details[0].get("cached_tokens", known.cached_tokens)
            known.reasoning_tokens = details[1].get("reasoning_tokens", known.reasoning_tokens)
            if not wants_usage:
                del chunk["usage"]
                if not chunk["choices"]:
                    continue
        for choice in chunk["choices"]:
            rename(choice["delta"], wanted)
        seen.append(chunk)
    if wants_usage and is_known and not any(not chunk["choices"] for chunk in seen):
        last = [chunk for chunk in made if chunk.get("usage")][-1]
        own = {key: last[key] for key in ("id", "created") if key in last}
        seen.append({**own, "model": "kimi-k2", "choices": [], "usage": last["usage"]})
    return [*seen, "[DONE]"], known if is_known else None


def rename(delta: Chunk, wanted: tuple[str, ...]) -> None:
    there = [key for key in ("reasoning_content", "reasoning") if delta.get(key) is not None]
    if there:
        value = max((delta[key] for key in there), key=len)
        for key in ("reasoning_content", "reasoning"):
            delta.pop(key, None)
        delta |= dict.fromkeys(wanted, value)


@settings(max_examples=150)
@given(st.data())
def test_the_client_sees_what_a_reader_of_everything_would_show(data: st.DataObject) -> None:
    key, known = data.draw(st.sampled_from([("reasoning", True), ("reasoning_content", True), ("reasoning", False)]))
    wanted = data.draw(st.sampled_from([("reasoning_content",), ("reasoning",), ("reasoning_content", "reasoning")]))
    wants_usage = data.draw(st.booleans())
    made = data.draw(chunks(["content", key], data.draw(st.sampled_from(["kimi-k2", "e", 'a"b\\']))))
    reading = meter(wants_usage=wants_usage, reasoning_key=key if known else None, reasoning_fields=wanted)
    packets = data.draw(packed(made))
    shown = [reading.feed_events(packet) for packet in packets]
    seen, usage = expected(made, wants_usage=wants_usage, wanted=wanted)
    assert payloads(b"".join(shown)) == seen
    assert (reading.usage, reading.finish_reason) == (usage, "stop")
    assert (reading.error, reading.end_events()) == (None, None)
    if not reading.transforms and wants_usage and made[0]["model"] == "kimi-k2" and not made[-1]["choices"]:
        assert shown == packets


FRAGMENTS = st.sampled_from(
    [
        *MARKERS,
        "functions.get_weather:0",
        '{"city":"P"}',
        "{}",
        " ",
        "text",
        "<",
        '"\\',
        f"{CALL_BEGIN}functions.search:0",
    ]
)
WHOLE = f'{CALL_BEGIN}functions.get_weather:9{ARGUMENT_BEGIN}{{"city":"<P>"}}{CALL_END}'


@settings(max_examples=150)
@given(st.data())
def test_with_tools_the_text_and_the_calls_are_what_a_scan_of_the_whole_text_finds(data: st.DataObject) -> None:
    text = "".join(data.draw(st.lists(FRAGMENTS | st.just(WHOLE), max_size=16)))
    cuts = sorted({0, len(text), *data.draw(st.lists(st.integers(0, len(text)), max_size=10))})
    parts = [text[start:end] for start, end in pairwise(cuts)]
    finish = data.draw(st.sampled_from(["stop", "length"]))
    made: list[Chunk] = [
        {"model": "e", "choices": [{"index": 0, "delta": {"content": part}, "finish_reason": None}]} for part in parts
    ]
    made.append({"model": "e", "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
    reading = with_tools(sent=Sent(engine_model="e", next_call_index=3))
    seen = payloads(b"".join([reading.feed_events(packet) for packet in data.draw(packed(made))]))

    scanner = LeakScanner({"get_weather", "search"}.__contains__)
    pieces = scanner.feed(text) + scanner.end(whole=finish == "stop")
    leaked = [piece for piece in pieces if isinstance(piece, LeakedCall)]
    calls = [
        {"id": f"functions.{call.name}:{3 + at}", "name": call.name, "arguments": call.arguments}
        for at, call in enumerate(leaked)
    ]
    shown = "".join(piece for piece in pieces if isinstance(piece, str))
    assert said(seen) == (shown, calls, "tool_calls" if calls and finish == "stop" else finish)
    assert all(chunk == "[DONE]" or chunk["model"] == "kimi-k2" for chunk in seen)
    marks = [name for name, so in (("tool_leak", scanner.seen), ("tool_repair", bool(calls))) if so]
    assert reading.transforms == marks
    assert (reading.error, reading.end_events()) == (None, None)

    # The same answer, not streamed, says the same.
    plain = with_tools(sent=Sent(engine_model="e", next_call_index=3), stream=False)
    body = {"model": "e", "choices": [{"index": 0, "message": {"content": text}, "finish_reason": finish}]}
    choice = json.loads(plain.read_body(json.dumps(body).encode()))["choices"][0]
    found = [{"id": call["id"], **call["function"]} for call in choice["message"].get("tool_calls", [])]
    content = choice["message"]["content"] or ""
    assert (content.strip(), found, choice["finish_reason"]) == (said(seen)[0].strip(), *said(seen)[1:])
    assert plain.transforms == marks


@given(st.lists(TEXTS, min_size=1, max_size=12), st.booleans())
def test_arguments_pass_byte_for_byte_however_they_are_written(texts: list[str], logprobs: bool) -> None:
    writer = Writer()
    reading = with_tools()
    more = {"logprobs": {"content": []}} if logprobs else {}
    first = {
        "index": 0,
        "id": "functions.search:0",
        "type": "function",
        "function": {"name": "search", "arguments": ""},
    }
    deltas = [{"tool_calls": [first]}]
    deltas += [{"tool_calls": [{"index": 0, "function": {"arguments": text}}]} for text in texts]
    events = [writer.choice({"delta": delta, "finish_reason": None, **more}) for delta in deltas]
    assert [reading.feed_events(event) for event in events] == events
    assert reading.events == len(list(sse.split(b"".join(events))))
