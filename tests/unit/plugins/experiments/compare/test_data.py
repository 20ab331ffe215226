"""What can be compared: three kinds of lines, each fault with its file and line, and bodies that are read when asked for."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from gateway.errors import ConfigError
from plugins.experiments.compare.built_in import BUILT_IN
from plugins.experiments.compare.data import MOST_FAULTS, MOST_LINE_BYTES, CallFile, open_calls

HELLO = [{"role": "user", "content": "Hello!"}]
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}


def written(folder: Path, *lines: Any) -> Path:
    file = folder / "calls.jsonl"
    file.write_text("".join(f"{each if isinstance(each, str) else json.dumps(each)}\n" for each in lines))
    return file


def test_a_chat_body_is_a_call(tmp_path: Path) -> None:
    body = {"model": "x", "stream": True, "messages": HELLO, "temperature": 0.6, "tools": [TOOL]}
    calls = CallFile(written(tmp_path, body, "", {"id": "second", "conversation": "c", "messages": HELLO}))
    assert len(calls) == 2
    first = calls.call(0)
    assert (first.id, first.conversation, first.reference) == ("line-1", "line-1", None)
    assert first.body == {"messages": HELLO, "temperature": 0.6, "tools": [TOOL]}
    second = calls.call(1)
    assert (second.id, second.conversation, second.body) == ("second", "c", {"messages": HELLO})


def test_samples_of_the_vendor_verifier_are_calls(tmp_path: Path) -> None:
    sample = {"messages": [{"role": "_input", "content": "Be brief."}, *HELLO], "tools": [TOOL], "max_tokens": 64}
    result = {"data_index": 7, "request": sample, "response": {}, "status": "success", "finish_reason": "tool_calls"}
    calls = CallFile(written(tmp_path, sample, result))
    assert calls.call(0).body["messages"][0] == {"role": "system", "content": "Be brief."}
    assert calls.call(0).reference is None
    assert calls.call(1).reference == "tool_calls"
    assert calls.call(1).body == calls.call(0).body


def test_our_own_lines_are_calls(tmp_path: Path) -> None:
    line = {"id": 7, "conversation": "talk", "finish_reason": "stop", "body": {"messages": HELLO, "name": "kept"}}
    call = CallFile(written(tmp_path, line)).call(0)
    assert (call.id, call.conversation, call.reference) == ("7", "talk", "stop")
    assert call.body == {"messages": HELLO, "name": "kept"}


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("{", "no JSON"),
        ([], "not an object"),
        ({"prompt": "x"}, "none of `messages`, `body` and `request`"),
        ({"messages": []}, "`messages` is not a list with something in it"),
        ({"messages": [{"content": "x"}]}, r"`messages\[0\]` has no role"),
        ({"messages": HELLO, "tools": [{"function": {}}]}, r"`tools\[0\]` has no function with a name"),
        ({"messages": HELLO, "tools": {}}, "`tools` is not a list"),
        ({"body": 3}, "the body is not an object"),
        ({"messages": HELLO, "id": [1]}, "`id` is not text"),
        ({"messages": HELLO, "id": "line-1"}, "repeats the id 'line-1' of line 1"),
    ],
)
def test_a_fault_says_where_it_is(tmp_path: Path, line: Any, fault: str) -> None:
    file = written(tmp_path, {"messages": HELLO}, "", line)
    with pytest.raises(ConfigError, match=f"^{file}:3: .*{fault}"):
        CallFile(file)


def test_all_faults_are_told_up_to_a_bound(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        CallFile(written(tmp_path, "{", {"messages": HELLO}, "["))
    assert [each.split(": ")[0].split(":")[-1] for each in raised.value.problems] == ["1", "3"]
    with pytest.raises(ConfigError) as many:
        CallFile(written(tmp_path, *["{"] * (MOST_FAULTS + 10)))
    assert len(many.value.problems) == MOST_FAULTS


def test_a_file_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        CallFile(tmp_path / "missing.jsonl")
    with pytest.raises(ConfigError, match="holds no call"):
        CallFile(written(tmp_path, "", "  "))


def test_a_line_without_end_is_refused_and_not_kept(tmp_path: Path) -> None:
    file = tmp_path / "long.jsonl"
    with file.open("wb") as stream:
        stream.write(b'"' + b"x" * (MOST_LINE_BYTES + 10))
    with pytest.raises(ConfigError, match=r"long.jsonl:1: longer than"):
        CallFile(file)


def test_bodies_are_not_kept(tmp_path: Path) -> None:
    long = [{"role": "user", "content": "x" * 100_000}]
    file = written(tmp_path, *({"messages": long} for _ in range(200)))
    tracemalloc.start()
    calls = CallFile(file)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(calls) == 200
    assert kept < 2_000_000 < file.stat().st_size


def test_a_file_that_changed_is_told(tmp_path: Path) -> None:
    file = written(tmp_path, {"messages": HELLO})
    calls = CallFile(file)
    before = calls.digest
    file.write_text("{}\n")
    with pytest.raises(ConfigError, match="the file has changed"):
        calls.call(0)
    assert CallFile(written(tmp_path, {"messages": [*HELLO, *HELLO]})).digest != before


def test_the_built_in_calls_are_good() -> None:
    calls = open_calls(BUILT_IN)
    every = [calls.call(number) for number in range(len(calls))]
    assert len({each.id for each in every}) == len(every) >= 50
    assert all(each.body["temperature"] == 0 for each in every)
    assert {each.reference for each in every} == {None, "stop", "tool_calls"}
    for each in every:
        assert (each.reference != "tool_calls") or each.body["tools"]
        for tool in each.body.get("tools", []):
            jsonschema.Draft202012Validator.check_schema(tool["function"]["parameters"])
