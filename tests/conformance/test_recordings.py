"""The scripted engines speak as the recorded ones did: the same keys in the same places, for the same requests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest

from tests.support.scripted_engine.process import ScriptedEngine, scripted_engine
from tests.support.scripted_engine.recordings import RECORDED, Json, answer_skeleton, differences

RECORDINGS: dict[str, Json] = {file.stem: json.loads(file.read_text()) for file in sorted(RECORDED.glob("*.json"))}

# What the recorded model said decides the shape, and the rules of the scripted one say something else.
OTHER_WORDS = "the recorded model said something else"
NOT_COMPARED = {
    ("vllm", "chat_stream_usage_continuous"): "the scripted engine has no running usage: the gateway never asks for it",
    ("vllm", "chat_tools_auto"): OTHER_WORDS,
    ("vllm", "chat_tools_auto_stream"): OTHER_WORDS,
    ("vllm", "chat_tools_named_stream"): OTHER_WORDS,
    ("vllm", "chat_tools_required_stream"): OTHER_WORDS,
    ("vllm", "chat_stream_n2"): OTHER_WORDS,
    ("vllm", "error_400_bad_json"): "the gateway lets no broken JSON through",
    ("vllm", "error_400_type"): "the scripted engine judges no types: the gateway does",
    ("vllm", "error_400_max_tokens"): "the gateway lets no such limit through",
    ("vllm", "error_400_temperature"): "the gateway lets no such temperature through",
    ("vllm", "error_400_missing_messages"): "the gateway lets no chat without messages through",
    ("vllm", "error_405"): "the gateway only posts",
    ("vllm", "metrics"): "compared by what the gateway reads of it",
}
CACHED = "the recorded prompt was in the cache, which the scripted engine has none of"
ONLY_READ = "it has what the gateway reads of it, and not the rest"
ECHOED = "the tools that it repeats are filled up with what was not asked"
NOT_COMPARED |= {
    ("sglang", "messages"): CACHED,
    ("sglang", "messages_tools"): CACHED,
    ("sglang", "error_messages_model"): CACHED,
    ("sglang", "loads"): ONLY_READ,
    ("ktransformers", "loads"): ONLY_READ,
    ("ktransformers", "get_load"): ONLY_READ,
    ("llama_cpp", "models"): ONLY_READ,
    ("llama_cpp", "slots"): ONLY_READ,
    ("sglang", "responses_tools"): ECHOED,
    ("sglang", "responses_tools_stream"): ECHOED,
    ("ktransformers", "responses_tools"): ECHOED,
}
EXCHANGES = [(engine, name) for engine, exchanges in RECORDINGS.items() for name in exchanges]


@pytest.fixture(scope="module")
def engines() -> Iterator[dict[str, ScriptedEngine]]:
    """A lifelike engine of each recorded kind, under the name that the recorded ones served."""
    with ExitStack() as running:
        yield {
            name: running.enter_context(
                scripted_engine("--dialect", name, "--lifelike", "--model", "kimi-k2", name=name)
            )
            for name in RECORDINGS
        }


@pytest.fixture(scope="module")
def http() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=10, trust_env=False, verify=False) as client:
        yield client


@pytest.mark.parametrize(("engine", "name"), [pair for pair in EXCHANGES if pair not in NOT_COMPARED])
def test_the_same_keys_in_the_same_places(
    engines: dict[str, ScriptedEngine], http: httpx.Client, engine: str, name: str
) -> None:
    recorded = RECORDINGS[engine][name]
    if name.startswith("overload"):
        engines[engine].next_calls("queue_full")
    url = engines[engine].url + recorded["path"]
    answer = http.request(recorded["method"], url, content=recorded["request"].encode())
    scripted = answer_skeleton(answer.status_code, answer.headers.get("content-type", ""), answer.content)
    assert scripted["status"] == recorded["status"], answer.text
    if "events" not in recorded:
        assert scripted["type"] == recorded["type"] or not recorded["body"]
        assert differences(recorded["body"], scripted["body"]) == []
        return
    unmet = [event for event in recorded["events"] if not _fits(event, scripted["events"])]
    made_up = [event for event in scripted["events"] if not _fits(event, recorded["events"])]
    assert (unmet, made_up) == ([], [])


def _fits(event: object, others: list[object]) -> bool:
    return any(differences(event, other) == [] for other in others)


def test_nothing_is_left_out_for_no_reason() -> None:
    assert not set(NOT_COMPARED) - set(EXCHANGES)
