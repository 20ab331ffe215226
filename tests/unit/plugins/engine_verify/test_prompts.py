from __future__ import annotations

from pathlib import Path

import pytest

from gateway.errors import ConfigError
from plugins.engine_verify.prompts import FIXED_SET, read_prompts


def test_the_fixed_set_touches_what_engines_do_differently() -> None:
    assert len({prompt.name for prompt in FIXED_SET}) == len(FIXED_SET)
    assert all((prompt.text is None) != (prompt.messages is None) for prompt in FIXED_SET)
    messages = [message for prompt in FIXED_SET for message in prompt.messages or []]
    assert {message["role"] for message in messages} == {"system", "user", "assistant", "tool"}
    assert any(prompt.tools for prompt in FIXED_SET)
    assert any(message.get("tool_calls") for message in messages)
    texts = "".join(prompt.text or "" for prompt in FIXED_SET)
    assert any(character.isdigit() for character in texts)
    assert any(ord(character) > 0xFFFF for character in texts)
    assert "\r\n" in texts


def test_tool_calls_in_the_history_are_numbered_through_and_answered() -> None:
    for prompt in FIXED_SET:
        calls = [call["id"] for message in prompt.messages or [] for call in message.get("tool_calls", [])]
        answered = [message["tool_call_id"] for message in prompt.messages or [] if message["role"] == "tool"]
        assert answered == calls
        assert [call.rpartition(":")[2] for call in calls] == [str(number) for number in range(len(calls))]


def test_a_file_of_prompts(tmp_path: Path) -> None:
    file = tmp_path / "prompts.jsonl"
    file.write_text(
        '{"name": "a", "text": "Grüße"}\n\n{"name": "b", "messages": [{"role": "user", "content": "x"}], "tools": []}\n'
    )
    first, second = read_prompts(file)
    assert (first.name, first.text, second.messages) == ("a", "Grüße", [{"role": "user", "content": "x"}])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "holds 0 prompts"),
        ("{", "line 1 is no prompt"),
        ('{"name": "a", "text": "x", "extra": 1}', "line 1 is no prompt: .*extra"),
        ('{"name": "a"}', "line 1 needs either"),
        ('{"name": "a", "text": ""}', "line 1 needs either"),
        ('{"name": "a", "text": "x", "messages": [{}]}', "line 1 needs either"),
        ('{"name": "a", "text": "x"}\n{"name": "a", "text": "y"}', "line 2 repeats the name 'a'"),
        ('{"name": "a", "text": "\udcff"}', "line 1 is no prompt"),
    ],
)
def test_a_bad_file_is_refused_with_the_line(tmp_path: Path, text: str, problem: str) -> None:
    file = tmp_path / "prompts.jsonl"
    file.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ConfigError, match=problem):
        read_prompts(file)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_prompts(tmp_path / "none.jsonl")


def test_a_file_without_end_is_not_read_to_it() -> None:
    with pytest.raises(ConfigError, match="longer than"):
        read_prompts(Path("/dev/zero"))
