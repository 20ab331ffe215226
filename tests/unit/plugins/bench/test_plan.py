from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from gateway.errors import ConfigError
from plugins.bench.plan import Endpoint, endpoints_of, levels_of
from plugins.bench.prompts import Prompts
from tests.unit.plugins.bench.test_figures import plan


@pytest.mark.parametrize("url", ["http://h:1", "http://h:1/", "http://h:1/v1", "http://h:1/v1/"])
def test_an_sdk_s_base_url_does_as_well(url: str) -> None:
    assert endpoints_of([url, "https://h/team/v1"]) == (Endpoint("A", "http://h:1"), Endpoint("B", "https://h/team"))


@pytest.mark.parametrize("url", ["", "h:1", "ftp://h", "http://", "http://h:x", "http://h?a=b", "http://h#a"])
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="--url"):
        endpoints_of([url])


def test_no_password_is_printed_with_a_refusal() -> None:
    with pytest.raises(ConfigError) as refused:
        endpoints_of(["http://me:hunter2@h"])
    assert "hunter2" not in refused.value.message


def test_two_at_most() -> None:
    with pytest.raises(ConfigError, match="not 3"):
        endpoints_of(["http://a", "http://b", "http://c"])


def test_levels() -> None:
    assert levels_of("8, 1,8") == (1, 8)


@pytest.mark.parametrize("text", ["", "0", "-1", "1,,2", "a", "1.5", "5000", ",".join(["1"] * 17)])
def test_what_is_no_level_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--concurrency"):
        levels_of(text)


def bodies(prompts: Prompts, count: int) -> list[dict[str, object]]:
    return [json.loads(prompts.next()) for _ in range(count)]


def test_made_up_prompts_begin_differently_and_come_again_with_the_seed() -> None:
    first, again = bodies(Prompts(plan(1), None), 50), bodies(Prompts(plan(1), None), 50)
    assert first == again
    assert len({str(body["messages"])[:60] for body in first}) == 50
    assert first[0]["stream_options"] == {"include_usage": True}
    assert (first[0]["model"], first[0]["max_tokens"]) == ("kimi-k2", 8)


def test_prompts_with_a_shared_prefix_differ_in_their_ends() -> None:
    made = bodies(Prompts(msgspec.structs.replace(plan(1), shared_prefix=True, prompt_tokens=40), None), 2)
    one, other = (body["messages"][0]["content"] for body in made)  # type: ignore[index]
    assert one != other
    assert one.rpartition(" ")[0] == other.rpartition(" ")[0]


def test_the_calls_of_a_file_are_asked_in_a_circle(tmp_path: Path) -> None:
    file = tmp_path / "calls.jsonl"
    messages = [{"role": "user", "content": "x"}]
    lines = [{"messages": messages, "max_tokens": 3, "model": "other"}, {"id": 1, "body": {"messages": messages}}]
    file.write_text("\n\n".join(map(json.dumps, lines)))
    one, two, three = bodies(Prompts(plan(1), file), 3)
    assert (one["max_tokens"], two["max_tokens"], one["model"]) == (3, 8, "kimi-k2")
    assert one == three


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "holds no call"),
        ("{", "line 1: not JSON"),
        ("[]", "line 1: not a chat's body"),
        ('\n{"a":1}', "line 2: not"),
    ],
)
def test_a_file_that_is_of_no_use(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "calls.jsonl"
    file.write_text(text)
    with pytest.raises(ConfigError, match=says):
        Prompts(plan(1), file)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        Prompts(plan(1), tmp_path / "none")
