"""What the engine said is what the client gets, and what the client asked is what the engine gets, but for the declared edits."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.integration.asking import CHAT, COMPLETIONS, DONE, chat, completion, payloads
from tests.integration.conftest import ENGINE_KEY
from tests.integration.wire import Wire
from tests.support.scripted_engine.process import ScriptedEngine

USAGE = {"include_usage": True}
BODIES = [(CHAT, chat()), (COMPLETIONS, completion())]


def direct(engine: ScriptedEngine, path: str, body: Any) -> httpx.Response:
    """Ask the engine itself."""
    return httpx.post(engine.url + path, json=body, trust_env=False, verify=False)


@pytest.mark.parametrize(("path", "body"), BODIES)
def test_a_whole_answer_is_the_engines_bytes(http: httpx.Client, a: ScriptedEngine, path: str, body: Any) -> None:
    answer, wanted = http.post(path, json=body), direct(a, path, body)
    assert answer.content == wanted.content
    assert answer.headers["content-type"] == wanted.headers["content-type"]


@pytest.mark.parametrize(("path", "body"), BODIES)
@pytest.mark.parametrize("options", [None, {}, {"include_usage": False}, {"include_usage": None}, "absent"])
def test_a_stream_is_the_engines_bytes_without_usage(
    http: httpx.Client, a: ScriptedEngine, path: str, body: Any, options: Any
) -> None:
    asked = {**body, "stream": True, "max_tokens": 7}
    answer = http.post(path, json=asked if options == "absent" else {**asked, "stream_options": options})
    # Not of a stream without usage: vLLM then writes its last chunk a little differently.
    *events, usage, done, _ = direct(a, path, {**asked, "stream_options": USAGE}).content.split(b"\n\n")
    assert b'"usage":{' in usage
    assert answer.content == b"\n\n".join([*events, done, b""])
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert b'"usage"' not in answer.content


@pytest.mark.parametrize(("path", "body"), BODIES)
def test_a_stream_with_asked_usage_is_the_engines_bytes(
    http: httpx.Client, a: ScriptedEngine, path: str, body: Any
) -> None:
    asked = {**body, "stream": True, "max_tokens": 7, "stream_options": USAGE}
    answer = http.post(path, json=asked)
    assert answer.content == direct(a, path, asked).content
    assert b'"usage":{' in payloads(answer.content)[-2]


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        ("absent", USAGE),
        (None, USAGE),
        ({}, USAGE),
        ({"include_usage": False}, USAGE),
        ({"include_usage": False, "continuous_usage_stats": True}, {**USAGE, "continuous_usage_stats": True}),
        ({"x": {"y": [1, None]}, "include_usage": True}, {"x": {"y": [1, None]}, **USAGE}),
    ],
)
def test_the_engine_is_always_asked_for_usage(http: httpx.Client, a: ScriptedEngine, options: Any, sent: Any) -> None:
    body = chat(stream=True) if options == "absent" else chat(stream=True, stream_options=options)
    http.post(CHAT, json=body)
    assert a.last_json() == {**body, "stream_options": sent}


def test_a_request_without_edits_keeps_its_bytes(http: httpx.Client, a: ScriptedEngine) -> None:
    body = b'{ "model" : "kimi-k2",\n "messages":[{"role":"user","content":"\\u6708 \xe6\x9c\x88"}], "seed":1.10e3 }'
    assert http.post(CHAT, content=body).is_success
    assert a.state()["last"]["body"].encode() == body


def test_an_edited_request_keeps_the_bytes_of_every_other_field(http: httpx.Client, a: ScriptedEngine) -> None:
    kept = (
        b'"seed":123456789012345678901234567890,"x":1.10e-3,"messages":[{"role" : "user", "content":"\\ud83d\\ude80"}]'
    )
    assert http.post(CHAT, content=b'{"model":"kimi-latest",%b,"stream":true}' % kept).is_success
    sent = a.state()["last"]["body"].encode()
    assert kept in sent
    assert json.loads(sent)["model"] == "kimi-k2"


def test_the_clients_key_and_headers_stay_with_the_gateway(http: httpx.Client, a: ScriptedEngine, key: str) -> None:
    answer = http.post(CHAT, json=chat(), headers={"x-secret": "1", "cookie": "c=1", "x-request-id": "theirs"})
    sent = dict(a.state()["last"]["headers"])
    assert key not in str(sent)
    assert {name.lower() for name in sent} <= {
        "host",
        "content-type",
        "content-length",
        "accept-encoding",
        "x-request-id",
    }
    assert sent["x-request-id"] == answer.headers["x-moegate-call-id"] + "-1"


def test_an_engine_that_wants_a_key_gets_its_own(http: httpx.Client, a: ScriptedEngine) -> None:
    answer = http.post(CHAT, json=chat(model="solo"))
    sent = {name.lower(): value for name, value in a.state()["last"]["headers"]}
    assert sent["authorization"] == f"Bearer {ENGINE_KEY}"
    assert ENGINE_KEY not in answer.text + str(answer.headers)


def test_no_event_is_held_back(wire: Wire, a: ScriptedEngine) -> None:
    """Three content chunks reach the client while the engine waits before the fourth."""
    wire.ask(chat(fault="slow,after=3,gate=g", stream=True, max_tokens=6))
    first = b""
    while first.count(b'"content":" ') < 3:
        first += wire.read_to(b"\n\n")
    assert a.wait(waiting=1)["running"] == 1
    a.release("g")
    rest = wire.read_to(b"[DONE]")
    assert rest.count(b'"content":" ') == 3


@pytest.mark.parametrize(
    "fault",
    [
        "utf8_split",
        "crlf",
        "two_events_one_packet",
        "event_across_packets",
        "one_byte_packets",
        "missing_usage",
        "no_length",
        "stream_with_length",
        "continue_100",
        "huge_event",
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_an_odd_but_sound_answer_arrives_as_it_is(
    http: httpx.Client, a: ScriptedEngine, fault: str, *, stream: bool
) -> None:
    # With usage asked for: the gateway does so itself, and vLLM then writes its last chunk a little differently.
    body = chat(fault=fault, stream=stream, max_tokens=3, **({"stream_options": USAGE} if stream else {}))
    answer, wanted = http.post(CHAT, json=body), direct(a, CHAT, body)
    assert answer.status_code == 200
    assert answer.content == wanted.content
    if stream:
        assert payloads(answer.content)[-1] == DONE


def test_a_whole_answer_that_does_not_say_why_it_ended_arrives_as_it_is(http: httpx.Client, a: ScriptedEngine) -> None:
    body = chat(fault="no_finish")
    assert http.post(CHAT, json=body).content == direct(a, CHAT, body).content


def test_a_stream_that_does_not_say_why_it_ended_was_cut_short(http: httpx.Client) -> None:
    """Whether as an event or as a status depends on how much of it the first read brought."""
    answer = http.post(CHAT, json=chat(fault="no_finish", stream=True))
    told = answer.json() if answer.status_code == 502 else json.loads(payloads(answer.content)[-1])
    assert told["error"]["code"] == "upstream_broken"
    assert DONE not in payloads(answer.content)


def test_comments_are_kept(http: httpx.Client) -> None:
    answer = http.post(CHAT, json=chat(fault="comments", stream=True, max_tokens=3))
    assert answer.content.startswith(b": keep-alive\n\n: ping 1\ndata: {")
    assert answer.content.count(b": ping 1\n") == 1 + 3 + 1


@pytest.mark.parametrize("fault", ["crlf", "comments", "two_events_one_packet", "one_byte_packets"])
def test_usage_is_shown_or_hidden_however_the_events_are_cut(http: httpx.Client, fault: str) -> None:
    shown = http.post(CHAT, json=chat(fault=fault, stream=True, stream_options=USAGE)).content
    hidden = http.post(CHAT, json=chat(fault=fault, stream=True)).content
    assert b'"usage":{' in shown
    assert b'"usage":{' not in hidden
    assert payloads(hidden) == [event for event in payloads(shown) if b'"usage":{' not in event]
