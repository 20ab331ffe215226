from __future__ import annotations

import pytest

from gateway.dataplane.emptiness import events_say_something, says_something


@pytest.mark.parametrize(
    "answer",
    [
        b'{"choices":[{"text":"a"}]}',
        b'{"choices":[{"message":{"content":" "}}]}',
        b'{"choices":[{"message":{"content":null,"tool_calls":[{"id":"f:0"}]}}]}',
        b'{"choices":[{"message":{"content":"","reasoning_content":"hm"}}]}',
        b'{"choices":[{"message":{"content":""}},{"message":{"content":"b"}}]}',
        b'{"choices":[{"delta":{"reasoning":"hm"}}]}',
        b'{"choices":{"of":"another kind"}}',
        b"not JSON",
    ],
)
def test_what_says_something(answer: bytes) -> None:
    assert says_something(answer)


@pytest.mark.parametrize(
    "answer",
    [
        b'{"choices":[{"text":""}]}',
        b'{"choices":[{"message":{"content":null,"tool_calls":[]}}]}',
        b'{"choices":[{"delta":{"role":"assistant"}}]}',
        b'{"choices":[],"usage":{"prompt_tokens":3}}',
        b"{}",
    ],
)
def test_what_says_nothing(answer: bytes) -> None:
    assert not says_something(answer)


def test_of_several_events_one_is_enough() -> None:
    role, word = b'{"choices":[{"delta":{"role":"assistant"}}]}', b'{"choices":[{"delta":{"content":"a"}}]}'
    assert events_say_something(b": ping\n\ndata: " + role + b"\n\ndata: " + word + b"\n\n")
    assert not events_say_something(b": ping\n\ndata: " + role + b"\n\ndata: [DONE]\n\n")
