"""What answers look like, streamed and whole, on a checkpoint that speaks a known text."""

import json
from typing import Any

import pytest

from tests.engines.torch_reference.engine_process import MODEL_NAME, Engine

TEXT = "Grün日🌍!"
CALL_ID = "functions.get_weather:0"
ARGUMENTS = '{"city":"Oslo"}'
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": "d",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
    for name in ("get_weather", "get_time")
]
# The script: 12 tokens of text, 3 of call header, and so on to the end token.
TOKENS_OF_TEXT, TOKENS_TO_ARGUMENTS, TOKENS_IN_ALL = 13, 19, 25


class Streamed:
    """The sum of a chat stream."""

    def __init__(self, chunks: Any) -> None:
        self.chunks = list(chunks)
        choices = [chunk.choices[0] for chunk in self.chunks if chunk.choices]
        self.contents = [choice.delta.content for choice in choices if choice.delta.content]
        self.reason = choices[-1].finish_reason
        assert [choice.finish_reason for choice in choices[:-1]] == [None] * (len(choices) - 1)
        assert choices[0].delta.role == "assistant"
        self.calls: list[dict[str, str]] = []
        self.logprobs: list[Any] = []
        for choice in choices:
            self.logprobs += choice.logprobs.content if choice.logprobs else []
            for piece in choice.delta.tool_calls or []:
                if piece.id is not None:
                    assert piece.index == len(self.calls)
                    self.calls.append({"id": piece.id, "name": piece.function.name, "arguments": ""})
                self.calls[piece.index]["arguments"] += piece.function.arguments

    @property
    def text(self) -> str:
        return "".join(self.contents)


def calls_of(message: Any) -> list[dict[str, str]]:
    return [
        {"id": call.id, "name": call.function.name, "arguments": call.function.arguments}
        for call in message.tool_calls or []
    ]


def both(engine: Engine, **fields: Any) -> Any:
    """Ask whole and streamed; check that they agree, and return the whole one."""
    whole = engine.chat(**fields)
    streamed = Streamed(engine.chat(stream=True, stream_options={"include_usage": True}, **fields))
    choice = whole.choices[0]
    assert streamed.text == (choice.message.content or "")
    assert streamed.calls == calls_of(choice.message)
    assert streamed.reason == choice.finish_reason
    assert streamed.chunks[-1].choices == []
    assert streamed.chunks[-1].usage == whole.usage
    assert [chunk.usage for chunk in streamed.chunks[:-1]] == [None] * (len(streamed.chunks) - 1)
    return choice


def test_a_tool_call_round_trip(scripted_engine: Engine) -> None:
    choice = both(scripted_engine, tools=TOOLS)
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content == TEXT
    assert calls_of(choice.message) == [{"id": CALL_ID, "name": "get_weather", "arguments": ARGUMENTS}]
    call = choice.message.tool_calls[0].model_dump()
    result = {"role": "tool", "tool_call_id": CALL_ID, "content": "sunny"}
    history = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": None, "tool_calls": [call]}, result]
    assert both(scripted_engine, messages=history, tools=TOOLS).message.content == TEXT


def test_arguments_come_as_they_are_written(scripted_engine: Engine) -> None:
    deltas = [
        piece
        for chunk in scripted_engine.chat(stream=True, tools=TOOLS)
        for piece in chunk.choices[0].delta.tool_calls or []
    ]
    assert (deltas[0].id, deltas[0].type, deltas[0].function.name) == (CALL_ID, "function", "get_weather")
    assert [piece.function.arguments for piece in deltas] == ["", '{"city":"', "Oslo", '"}']
    assert [(piece.id, piece.type, piece.function.name) for piece in deltas[1:]] == [(None, None, None)] * 3


def test_characters_are_never_split(scripted_engine: Engine) -> None:
    streamed = Streamed(scripted_engine.chat(stream=True, tools=TOOLS))
    assert streamed.contents == list(TEXT)


# In and after every kind of token: half characters, markers, id, arguments, the end.
@pytest.mark.parametrize("limit", [1, 3, 5, 11, 13, 14, 15, 17, 18, 19, 20, 21, 23, 25])
def test_an_answer_may_be_cut_anywhere(scripted_engine: Engine, limit: int) -> None:
    choice = both(scripted_engine, tools=TOOLS, max_tokens=limit)
    assert choice.finish_reason == ("tool_calls" if limit == TOKENS_IN_ALL else "length")
    content, calls = choice.message.content or "", calls_of(choice.message)
    assert "�" not in content
    if limit <= TOKENS_OF_TEXT:
        assert TEXT.startswith(content)
    elif limit < TOKENS_TO_ARGUMENTS:
        # No id yet: what was written of the call is content, markers and all.
        assert content.startswith(TEXT + "<|tool_calls_section_begin|>")
    else:
        assert content == TEXT
        assert len(calls) == 1
        assert ARGUMENTS.startswith(calls[0]["arguments"])


def test_without_tools_markup_is_text_without_its_special_tokens(scripted_engine: Engine) -> None:
    for fields in ({}, {"tools": TOOLS, "tool_choice": "none"}):
        choice = both(scripted_engine, **fields)
        assert choice.message.content == TEXT + CALL_ID + ARGUMENTS
        assert choice.message.tool_calls is None
        assert choice.finish_reason == "stop"


def test_tool_choice_none_leaves_the_tools_out_of_the_prompt(scripted_engine: Engine) -> None:
    plain, unused = scripted_engine.chat(), scripted_engine.chat(tools=TOOLS, tool_choice="none")
    assert plain.usage.prompt_tokens == unused.usage.prompt_tokens


def test_a_named_tool_is_called_once_under_the_next_number(scripted_engine: Engine) -> None:
    named = {"type": "function", "function": {"name": "get_time"}}
    choice = both(scripted_engine, tools=TOOLS, tool_choice=named)
    assert calls_of(choice.message) == [{"id": "functions.get_time:0", "name": "get_time", "arguments": ARGUMENTS}]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content is None
    call = {"id": CALL_ID, "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
    history = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "", "tool_calls": [call, call]},
        {"role": "tool", "tool_call_id": CALL_ID, "content": "sunny"},
    ]
    again = both(scripted_engine, tools=TOOLS, tool_choice=named, messages=history)
    assert calls_of(again.message)[0]["id"] == "functions.get_time:2"


def test_a_required_call_begins_at_once(scripted_engine: Engine) -> None:
    choice = both(scripted_engine, tools=TOOLS, tool_choice="required")
    assert calls_of(choice.message) == [{"id": CALL_ID, "name": "get_weather", "arguments": ARGUMENTS}]
    assert choice.message.content is None


def test_one_call_at_most_when_parallel_calls_are_off(scripted_engine: Engine) -> None:
    answer = scripted_engine.chat(tools=TOOLS, parallel_tool_calls=False)
    assert calls_of(answer.choices[0].message)[0]["arguments"] == ARGUMENTS
    assert answer.choices[0].finish_reason == "tool_calls"
    # The markers after the call are not generated any more.
    assert answer.usage.completion_tokens == TOKENS_IN_ALL - 2


@pytest.mark.parametrize(
    ("stop", "expected"),
    [
        ("日", "Grün"),
        (["x", "n日🌍"], "Grü"),
        (["absent"], TEXT + CALL_ID + ARGUMENTS),
        ("G", ""),
        (["Oslo", "city"], TEXT + CALL_ID + '{"'),
    ],
)
def test_stop_strings_end_the_text_before_them(scripted_engine: Engine, stop: Any, expected: str) -> None:
    choice = both(scripted_engine, stop=stop)
    assert choice.message.content == expected
    assert choice.finish_reason == "stop"


def test_a_possible_stop_string_is_held_back(scripted_engine: Engine) -> None:
    streamed = Streamed(scripted_engine.chat(stream=True, stop="n日x", max_tokens=8))
    assert streamed.contents == ["G", "r", "ü", "n日"]


def test_logprobs_cover_every_token(scripted_engine: Engine) -> None:
    fields: dict[str, Any] = {"tools": TOOLS, "logprobs": True, "top_logprobs": 2}
    whole = scripted_engine.chat(**fields).choices[0].logprobs.content
    assert len(whole) == TOKENS_IN_ALL
    assert b"".join(bytes(entry.bytes) for entry in whole).decode().startswith(TEXT)
    assert whole[2].token == "bytes:\\xc3"
    assert whole[-1].token == "<|im_end|>"
    assert {len(entry.top_logprobs) for entry in whole} == {2}
    streamed = Streamed(scripted_engine.chat(stream=True, **fields))
    assert streamed.logprobs == whole
    assert scripted_engine.chat(tools=TOOLS).choices[0].logprobs is None


def test_several_answers(scripted_engine: Engine) -> None:
    answer = scripted_engine.chat(n=3)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert len({choice.message.content for choice in answer.choices}) == 1
    assert answer.usage.completion_tokens == 3 * TOKENS_IN_ALL
    texts = ["", "", ""]
    for chunk in scripted_engine.chat(n=3, stream=True):
        texts[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
    assert texts == [choice.message.content for choice in answer.choices]


def test_a_completion_goes_on_and_may_echo(scripted_engine: Engine) -> None:
    fields: dict[str, Any] = {"max_tokens": 40, "extra_body": {"skip_special_tokens": False}}
    prompt = "the<|im_middle|>"
    plain = scripted_engine.complete(prompt, **fields).choices[0]
    markup = f"<|tool_calls_section_begin|><|tool_call_begin|>{CALL_ID}<|tool_call_argument_begin|>{ARGUMENTS}"
    assert plain.text == TEXT + markup + "<|tool_call_end|><|tool_calls_section_end|>"
    assert plain.finish_reason == "stop"
    assert scripted_engine.complete(prompt, echo=True, **fields).choices[0].text == prompt + plain.text
    hidden = scripted_engine.complete(prompt, max_tokens=40).choices[0]
    assert hidden.text == TEXT + CALL_ID + ARGUMENTS


def test_offsets_point_at_the_tokens_in_the_text(scripted_engine: Engine) -> None:
    choice = scripted_engine.complete("the<|im_middle|>", max_tokens=13, logprobs=1, echo=True).choices[0]
    scores = choice.logprobs
    for token, offset in zip(scores.tokens, scores.text_offset, strict=True):
        if not token.startswith("bytes:"):
            assert choice.text[offset : offset + len(token)] == token
    # The parts of a split character all begin where it does.
    assert scores.text_offset[-5:-1] == [choice.text.index("🌍")] * 4


def test_completions_stream(scripted_engine: Engine) -> None:
    chunks = list(
        scripted_engine.complete(
            "the<|im_middle|>", stream=True, echo=True, max_tokens=40, stream_options={"include_usage": True}
        )
    )
    pieces = [chunk.choices[0] for chunk in chunks if chunk.choices]
    assert "".join(piece.text for piece in pieces) == "the<|im_middle|>" + TEXT + CALL_ID + ARGUMENTS
    assert pieces[-1].finish_reason == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == TOKENS_IN_ALL


def test_the_bytes_of_a_stream(scripted_engine: Engine) -> None:
    body = {"model": MODEL_NAME, "messages": [{"role": "user", "content": "hi"}], "temperature": 0, "stream": True}
    reply = scripted_engine.http.post("/v1/chat/completions", json=body | {"user": "u", "made_up": 1})
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert reply.headers["x-ignored-parameters"] == "user, made_up"
    events = reply.content.split(b"\n\n")
    assert events[-2:] == [b"data: [DONE]", b""]
    parsed = [json.loads(event.removeprefix(b"data: ")) for event in events[:-2]]
    assert len({event["id"] for event in parsed}) == 1
    assert not any("usage" in event for event in parsed)
    running = body | {"stream_options": {"continuous_usage_stats": True}}
    counted = scripted_engine.http.post("/v1/chat/completions", json=running).content.split(b"\n\n")[:-2]
    counts = [json.loads(event.removeprefix(b"data: "))["usage"]["completion_tokens"] for event in counted]
    assert counts == sorted(counts)
    assert counts[-1] == TOKENS_IN_ALL


def test_the_shape_of_a_whole_answer(scripted_engine: Engine) -> None:
    body = {"model": MODEL_NAME, "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]}
    reply = scripted_engine.http.post(
        "/v1/chat/completions", json=body | {"temperature": 0}, headers={"x-request-id": "call-1"}
    )
    answer = reply.json()
    assert "x-ignored-parameters" not in reply.headers
    assert answer["id"] == "chatcmpl-call-1"
    assert answer["model"] == MODEL_NAME
    assert answer["choices"][0]["message"] == {"role": "assistant", "content": TEXT + CALL_ID + ARGUMENTS}
    assert answer["usage"]["prompt_tokens_details"] == {"cached_tokens": 0}
    assert answer["usage"]["total_tokens"] == answer["usage"]["prompt_tokens"] + TOKENS_IN_ALL


def test_the_end_may_be_ignored(scripted_engine: Engine) -> None:
    answer = scripted_engine.chat(max_tokens=40, extra_body={"ignore_eos": True})
    assert answer.usage.completion_tokens == 40
    assert answer.choices[0].finish_reason == "length"
