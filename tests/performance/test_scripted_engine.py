"""Checks the scripted engine itself, because every other test trusts what it says; no gateway is involved."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.support.scripted_engine import fault_errors, fault_streams, fault_transport, fault_turns
from tests.support.scripted_engine.faults import FAULTS
from tests.support.scripted_engine.process import ScriptedEngine, scripted_engine

REGISTERED = {**vars(fault_errors), **vars(fault_streams), **vars(fault_transport), **vars(fault_turns)}
GATED = {"first_byte_stall", "hang_after_headers", "slow"}
BODY = {"model": "kimi-k2", "messages": [{"role": "user", "content": "hello"}]}
CHAT = "/v1/chat/completions"
# One client, because building one costs more than a call; it keeps no connection, because faults are about connections.
client = httpx.Client(timeout=10, limits=httpx.Limits(max_keepalive_connections=0), trust_env=False, verify=False)


@pytest.fixture(scope="module")
def running() -> Iterator[ScriptedEngine]:
    """One engine for the module."""
    with scripted_engine(name="a") as engine:
        yield engine


@pytest.fixture
def engine(running: ScriptedEngine) -> ScriptedEngine:
    """The engine with its past forgotten."""
    running.reset()
    return running


def ask(engine: ScriptedEngine, fault: str, *, stream: bool) -> httpx.Response | Exception:
    """Make one call and return the answer, or what came instead of one."""
    body = {**BODY, "stream": stream, "max_tokens": 3, "user": f"[[fault:{fault}]]"}
    try:
        return client.post(engine.url + CHAT, json=body)
    except httpx.HTTPError as error:
        return error


def test_whole_answer(engine: ScriptedEngine) -> None:
    """A whole answer has vLLM's shape, and the engine remembers the request."""
    answer = client.post(engine.url + CHAT, json=BODY)
    assert answer.json()["choices"][0]["message"]["role"] == "assistant"
    assert answer.json()["usage"]["prompt_tokens"] > 0
    assert engine.last_json() == BODY
    assert engine.state()["finished"] == 1


def test_stream(engine: ScriptedEngine) -> None:
    """A stream has its role chunk, as many content chunks as asked for, usage, and its end."""
    body = {**BODY, "stream": True, "max_tokens": 4, "stream_options": {"include_usage": True}}
    events = client.post(engine.url + CHAT, json=body).text.split("\n\n")
    assert '"role":"assistant"' in events[0]
    assert len(events) == 1 + 4 + 1 + 1 + 1
    assert '"finish_reason":"length"' in events[4]
    assert '"completion_tokens":4' in events[5]
    assert events[6:] == ["data: [DONE]", ""]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", sorted(set(FAULTS) - GATED - {"endless"}))
def test_fault_ends(engine: ScriptedEngine, fault: str, *, stream: bool) -> None:
    """Every fault without a gate ends by itself and leaves no call behind."""
    ask(engine, fault, stream=stream)
    state = engine.wait(running=0, seen=1)
    assert state["finished"] + state["cut"] + state["aborted"] == 1
    assert fault in REGISTERED


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", sorted(GATED))
def test_gate_holds(engine: ScriptedEngine, fault: str, *, stream: bool) -> None:
    """A gated fault answers healthily, but not before its gate is opened."""
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(ask, engine, f"{fault},gate=g", stream=stream)
        engine.wait(waiting=1, running=1)
        assert not answer.done()
        assert engine.release("another") == 0
        assert engine.release("g") == 1
        got = answer.result(timeout=10)
    assert isinstance(got, httpx.Response)
    assert got.status_code == httpx.codes.OK
    assert engine.wait(running=0)["finished"] == 1


def test_abort_is_seen(engine: ScriptedEngine) -> None:
    """A client that leaves is an abort, and the running count returns to zero."""
    body = {**BODY, "stream": True, "user": "[[fault:endless]]"}
    with client.stream("POST", engine.url + CHAT, json=body) as answer:
        chunks = answer.iter_raw()
        next(chunks)
        assert engine.state()["running"] == 1
    assert engine.wait(running=0, connections=0)["aborted"] == 1


def test_faults_for_one_engine_only(engine: ScriptedEngine) -> None:
    """`only=` leaves other engines healthy, and queued faults come first."""
    engine.next_calls("queue_full_503", "")
    answers = [ask(engine, "error_500,only=another", stream=False) for _ in range(3)]
    assert [answer.status_code for answer in answers if isinstance(answer, httpx.Response)] == [503, 200, 200]


def test_stops_and_starts_listening(engine: ScriptedEngine) -> None:
    """A closed port refuses, and the same port works again afterwards."""
    engine.listen(accept=False, drop=True)
    with pytest.raises(httpx.ConnectError):
        client.get(engine.url + "/health")
    engine.listen(accept=True)
    assert client.get(engine.url + "/health").status_code == httpx.codes.OK


def test_wrong_requests(engine: ScriptedEngine) -> None:
    """An unknown model, broken JSON and an unknown fault are refused in vLLM's shape."""
    assert client.post(engine.url + CHAT, json={**BODY, "model": "other"}).status_code == httpx.codes.NOT_FOUND
    assert client.post(engine.url + CHAT, content=b"{").status_code == httpx.codes.BAD_REQUEST
    answer = ask(engine, "no_such_fault", stream=False)
    assert isinstance(answer, httpx.Response)
    assert answer.json()["error"]["type"] == "UnknownFault"
