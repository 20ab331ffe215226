"""Plain and streamed answers of chat and completions: text, names, usage, and who is said to have answered."""

from __future__ import annotations

import json
from typing import Any

from tests.conformance.backends.asking import CHAT, COMPLETIONS, HELLO, SUM, payloads
from tests.conformance.backends.case import Feature, case
from tests.conformance.backends.target import Target

ASKED = {"stream_options": {"include_usage": True}}
PROMPT = "one two three"


@case("chat")
def a_plain_answer_is_whole(target: Target) -> None:
    answer = target.chat()
    (choice,) = answer.choices
    assert "7" in choice.message.content
    assert (choice.message.role, choice.finish_reason, choice.index) == ("assistant", "stop", 0)
    assert (answer.object, bool(answer.id)) == ("chat.completion", True)
    assert not choice.message.tool_calls


@case("chat")
def a_stream_says_the_same_as_a_plain_answer(target: Target) -> None:
    chunks = list(target.chat(stream=True))
    assert text(chunks) == target.chat().choices[0].message.content
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices[0].finish_reason] == ["stop"]
    assert len({chunk.id for chunk in chunks}) == 1
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert chunks[0].choices[0].delta.role == "assistant"


@case("chat")
def a_stream_ends_with_done(target: Target) -> None:
    answer = target.stream_bytes()
    assert answer.headers["content-type"].startswith("text/event-stream")
    *chunks, done = payloads(answer.content)
    assert done == b"[DONE]"
    assert all("choices" in json.loads(chunk) for chunk in chunks)
    assert answer.content.endswith(b"\n\n")


@case("chat")
def the_answer_says_who_gave_it(target: Target) -> None:
    for stream in (False, True):
        headers = target.post(CHAT, target.body(stream=stream)).headers
        assert headers["x-moegate-backend"] == target.engine
        assert headers["x-moegate-attempts"] == "1"
        assert headers["x-moegate-replica"]
        assert len(headers["x-moegate-call-id"]) == 32
        assert "x-moegate-error" not in headers


@case("chat")
def the_model_has_the_name_it_is_served_under(target: Target) -> None:
    for name in (target.model, *target.aliases):
        assert target.chat(HELLO, model=name, max_tokens=4).model in (target.model, name)
        assert {chunk.model for chunk in target.chat(HELLO, model=name, max_tokens=4, stream=True)} <= {
            target.model,
            name,
        }


@case("chat")
def content_may_come_in_parts(target: Target) -> None:
    parts = [{"role": "user", "content": [{"type": "text", "text": SUM[0]["content"]}]}]
    assert target.chat(parts).choices[0].message.content == target.chat().choices[0].message.content


@case("chat")
def a_system_message_and_a_history_are_taken(target: Target) -> None:
    history = [
        {"role": "system", "content": "You are Kimi."},
        *HELLO,
        {"role": "assistant", "content": "Hello! How can I help you?"},
        *SUM,
    ]
    assert "7" in target.chat(history).choices[0].message.content


# -- usage ------------------------------------------------------------------------------------------------------------


def check_usage(usage: Any) -> None:
    """The figures add up; nothing is said of what is not known."""
    assert usage.prompt_tokens > 0
    assert usage.completion_tokens > 0
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


@case("usage")
def a_plain_answer_counts_its_tokens(target: Target) -> None:
    check_usage(target.chat().usage)


@case("usage")
def a_stream_counts_its_tokens_when_asked(target: Target) -> None:
    *chunks, last = target.chat(stream=True, **ASKED)
    assert last.choices == []
    check_usage(last.usage)
    assert all(chunk.usage is None for chunk in chunks)
    assert last.usage.prompt_tokens == target.chat().usage.prompt_tokens


@case("usage")
def a_stream_keeps_its_count_to_itself_when_not_asked(target: Target) -> None:
    for options in ({}, {"stream_options": {"include_usage": False}}, {"stream_options": None}):
        answer = target.stream_bytes(**options)
        chunks = [json.loads(payload) for payload in payloads(answer.content)[:-1]]
        assert all(chunk.get("usage") is None for chunk in chunks)
        assert all(chunk["choices"] for chunk in chunks)


@case("usage", Feature.COMPLETIONS)
def completions_count_as_well(target: Target) -> None:
    check_usage(complete(target).usage)
    *_, last = complete(target, stream=True, **ASKED)
    assert last.choices == []
    check_usage(last.usage)


# -- completions ------------------------------------------------------------------------------------------------------


def complete(target: Target, **fields: Any) -> Any:
    """Continue a text by the SDK."""
    asked = {"model": target.model, "prompt": PROMPT, "max_tokens": 6, "temperature": 0, **fields}
    return target.openai.completions.create(**asked)


@case("completions", Feature.COMPLETIONS)
def a_plain_completion_is_whole(target: Target) -> None:
    answer = complete(target)
    (choice,) = answer.choices
    assert choice.text
    assert choice.finish_reason in ("length", "stop")
    assert answer.model == target.model
    assert answer.object == "text_completion"


@case("completions", Feature.COMPLETIONS)
def a_streamed_completion_says_the_same(target: Target) -> None:
    chunks = list(complete(target, stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == complete(target).choices[0].text
    assert {chunk.model for chunk in chunks} == {target.model}
    assert chunks[-1].choices[0].finish_reason in ("length", "stop")


@case("completions", Feature.COMPLETIONS)
def a_streamed_completion_ends_with_done(target: Target) -> None:
    asked = {"model": target.model, "prompt": PROMPT, "max_tokens": 4, "temperature": 0, "stream": True}
    assert payloads(target.post(COMPLETIONS, asked).content)[-1] == b"[DONE]"


def text(chunks: list[Any], index: int = 0) -> str:
    """What the chunks of one choice say together."""
    choices = [choice for chunk in chunks for choice in chunk.choices if choice.index == index]
    return "".join(choice.delta.content or "" for choice in choices)
