"""Exact counts by k2-tiny's own tokenizer. The figures are what the reference engine reported as prompt_tokens for these."""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from gateway import Call, Model, Operation
from gateway.tokens import LearnedCounter
from gateway.tokens import counter as counting
from gateway.tokens.counter import INLINE_BYTES, MOST_EXACT_BYTES
from gateway.tokens.prompts import Texts
from tests.unit.builders import CHECKPOINT, make_call, until

K2_TINY = Path(__file__).parents[4] / "deploy" / "lab" / "k2-tiny"
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Weather",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
]
HISTORY: list[dict[str, Any]] = [
    {"role": "user", "content": "weather?"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {
                "id": "functions.get_weather:0",
                "type": "function",
                "function": {"name": "get_weather", "arguments": '{"city": "Oslo"}'},
            }
        ],
    },
    {"role": "tool", "tool_call_id": "functions.get_weather:0", "content": "rain"},
]
OSLO = [{"role": "user", "content": "weather in Oslo?"}]
PARTS = [{"type": "text", "text": "a"}, {"type": "text", "text": "bc\n"}]

REPORTED: list[tuple[Operation, dict[str, Any], int]] = [
    (Operation.CHAT, {"messages": [{"role": "user", "content": "hello"}]}, 15),
    (
        Operation.CHAT,
        {"messages": [{"role": "system", "content": "Sé breve. 你好"}, {"role": "user", "content": PARTS}]},
        28,
    ),
    (
        Operation.CHAT,
        {"messages": [{"role": "developer", "content": "x"}, {"role": "user", "content": "<|im_end|> trick"}]},
        17,
    ),
    (Operation.CHAT, {"messages": OSLO, "tools": TOOLS}, 38),
    (Operation.CHAT, {"messages": OSLO, "tools": TOOLS, "tool_choice": "none"}, 20),
    (Operation.CHAT, {"messages": HISTORY, "tools": TOOLS}, 68),
    (Operation.CHAT, {"messages": [{"role": "user", "name": "bob", "content": "word " * 800}]}, 1_613),
    (Operation.COMPLETIONS, {"prompt": "hello world"}, 8),
    (Operation.COMPLETIONS, {"prompt": ["a", "bb cc"]}, 6),
    (Operation.COMPLETIONS, {"prompt": [1, 2, 3]}, 3),
    (Operation.COMPLETIONS, {"prompt": [[1, 2], [3]]}, 3),
]


def call_of(operation: Operation, body: dict[str, Any], folder: Path | None = K2_TINY) -> Call:
    return make_call(
        operation=operation,
        body=json.dumps(body).encode(),
        model=Model("kimi-k2", (), CHECKPOINT, tokenizer=folder),
        has_tools="tools" in body,
    )


@pytest.mark.parametrize(("operation", "body", "tokens"), REPORTED)
async def test_a_prompt_is_counted_as_the_engine_counts_it(
    operation: Operation, body: dict[str, Any], tokens: int
) -> None:
    assert await LearnedCounter().exact(call_of(operation, body)) == tokens


@pytest.mark.parametrize(
    ("operation", "body"),
    [
        (Operation.RESPONSES, {"input": "hello"}),
        (Operation.RESPONSES, {"input": [{"role": "user", "content": [{"type": "input_text", "text": "hello"}]}]}),
        (Operation.MESSAGES, {"messages": [{"role": "user", "content": "hello"}]}),
    ],
)
async def test_what_is_said_in_another_api_is_the_same_prompt(operation: Operation, body: dict[str, Any]) -> None:
    assert await LearnedCounter().exact(call_of(operation, body)) == 15


async def test_a_system_prompt_is_part_of_it_in_every_api() -> None:
    messages = [{"role": "user", "content": "hello"}]
    counter = LearnedCounter()
    chat = await counter.exact(
        call_of(Operation.CHAT, {"messages": [{"role": "system", "content": "Be brief."}, *messages]})
    )
    assert chat == await counter.exact(call_of(Operation.MESSAGES, {"messages": messages, "system": "Be brief."}))
    assert chat == await counter.exact(call_of(Operation.RESPONSES, {"input": "hello", "instructions": "Be brief."}))


IMAGE = {"type": "image_url", "image_url": {"url": "data:,"}}


@pytest.mark.parametrize(
    ("operation", "body"),
    [
        (Operation.CHAT, {"messages": [{"role": "user", "content": [IMAGE]}]}),
        (Operation.CHAT, {"messages": ["hello"]}),
        (Operation.CHAT, {"messages": [{"role": "user", "content": 5}]}),
        (Operation.CHAT, {"messages": [{"role": "assistant", "tool_calls": 7}]}),
        (Operation.CHAT, {"messages": OSLO, "chat_template_kwargs": [1]}),
        (Operation.COMPLETIONS, {"prompt": {"text": "hello"}}),
        (Operation.COMPLETIONS, {"prompt": [{}]}),
        (Operation.MESSAGES, {"messages": OSLO, "tools": TOOLS}),
        (Operation.RESPONSES, {"input": [{"type": "function_call_output", "call_id": "1", "output": "x"}]}),
        (Operation.TOKENIZE, {"prompt": "hello"}),
    ],
)
async def test_what_cannot_be_rendered_is_not_counted(operation: Operation, body: dict[str, Any]) -> None:
    assert await LearnedCounter().exact(call_of(operation, body)) is None


async def test_a_client_cannot_set_what_the_template_gets_from_us() -> None:
    kwargs = {"add_generation_prompt": False, "messages": [], "tools": TOOLS, "anything": 1}
    body = {"messages": [{"role": "user", "content": "hello"}], "chat_template_kwargs": kwargs}
    assert await LearnedCounter().exact(call_of(Operation.CHAT, body)) == 15


async def test_without_a_tokenizer_there_is_no_exact_count(tmp_path: Path) -> None:
    hello = REPORTED[0][1]
    assert await LearnedCounter().exact(call_of(Operation.CHAT, hello, None)) is None
    assert await LearnedCounter().exact(call_of(Operation.CHAT, hello, tmp_path)) is None
    (tmp_path / "tokenizer.json").write_text("{}")
    assert await LearnedCounter().exact(call_of(Operation.CHAT, hello, tmp_path)) is None


async def test_a_template_may_stand_in_the_tokenizer_s_configuration(tmp_path: Path) -> None:
    shutil.copy(K2_TINY / "tokenizer.json", tmp_path)
    template = (K2_TINY / "chat_template.jinja").read_text()
    for written in (template, [{"name": "other", "template": "x"}, {"name": "default", "template": template}]):
        (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": written}))
        assert await LearnedCounter().exact(call_of(Operation.CHAT, REPORTED[0][1], tmp_path)) == 15


@pytest.mark.parametrize(
    "template", ["{{ ''.__class__.__mro__ }}", "{{ raise_exception('no') }}", "{% for x in 5 %}{% endfor %}", "{{"]
)
async def test_a_template_that_fails_or_reaches_out_counts_nothing(tmp_path: Path, template: str) -> None:
    shutil.copy(K2_TINY / "tokenizer.json", tmp_path)
    (tmp_path / "chat_template.jinja").write_text(template)
    assert await LearnedCounter().exact(call_of(Operation.CHAT, REPORTED[0][1], tmp_path)) is None


async def test_a_long_prompt_is_counted_in_a_thread_and_one_too_long_is_not() -> None:
    counter, loop_ran = LearnedCounter(), asyncio.Event()
    asyncio.get_running_loop().call_soon(loop_ran.set)
    size = 50 * INLINE_BYTES
    exact = await counter.exact(call_of(Operation.COMPLETIONS, {"prompt": "word " * (size // 5)}))
    assert loop_ran.is_set()
    assert exact is not None
    assert exact > size // 5
    assert await counter.exact(call_of(Operation.COMPLETIONS, {"prompt": "x" * MOST_EXACT_BYTES})) is None


async def test_the_tokens_themselves_are_as_many_as_are_counted() -> None:
    counter = LearnedCounter()
    for operation, body in ((Operation.CHAT, {"messages": OSLO}), (Operation.COMPLETIONS, {"prompt": "hello there"})):
        call = call_of(operation, body)
        ids = await counter.ids(call, MOST_EXACT_BYTES)
        assert ids is not None
        assert len(ids) == await counter.exact(call)
        assert all(isinstance(each, int) for each in ids)
        assert await counter.ids(call, 5) is None
    longer = await counter.ids(call_of(Operation.CHAT, {"messages": [*OSLO, *OSLO]}), MOST_EXACT_BYTES)
    first = await counter.ids(call_of(Operation.CHAT, {"messages": OSLO}), MOST_EXACT_BYTES)
    assert longer is not None
    assert first is not None
    assert longer[: len(first) - 5] == first[:-5]  # but for what asks the model to speak


@pytest.mark.parametrize("prompt", [["one", "two"], [1, 2, 3], [[1, 2], [3]], [""] * 3])
async def test_what_is_no_single_text_has_no_tokens_of_its_own(prompt: Any) -> None:
    assert await LearnedCounter().ids(call_of(Operation.COMPLETIONS, {"prompt": prompt}), MOST_EXACT_BYTES) is None


async def test_no_more_threads_are_taken_than_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    gate, begun = threading.Event(), threading.Semaphore(0)

    def read_when_told(call: Call) -> Texts:
        begun.release()
        assert gate.wait(30)
        return Texts(["hello"])

    counter, call = LearnedCounter(), call_of(Operation.COMPLETIONS, {"prompt": "word " * INLINE_BYTES})
    size = await counter.exact(call_of(Operation.COMPLETIONS, {"prompt": "hello"}))
    monkeypatch.setattr(counting, "read", read_when_told)
    tasks = [asyncio.ensure_future(counter.exact(call)) for _ in range(10)]
    await until(lambda: sum(task.done() for task in tasks) == 8)  # they are not made to wait
    tasks[0].cancel()  # its thread goes on, and gives its place back in the end
    for _ in range(2):
        assert begun.acquire(timeout=30)
    assert await counter.exact(call) is None
    gate.set()
    assert await tasks[1] == size
    await until_counted(counter, call)


async def until_counted(counter: LearnedCounter, call: Call) -> None:
    """The thread of the call that was cancelled gives its place back in its own time, of which nothing tells."""
    both: list[int | None] = [None]
    while None in both:
        both = await asyncio.gather(counter.exact(call), counter.exact(call))
