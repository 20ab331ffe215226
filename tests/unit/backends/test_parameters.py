from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from backends import dialects
from backends.dialects import Dialect
from backends.parameters import CHANGES_ANSWER, INTERNAL, changes_answer, decoded
from gateway import Operation
from gateway.fleet.pool import ORDINARY_PARAMS

DIALECTS = {name: value for name, value in vars(dialects).items() if isinstance(value, Dialect)}
KNOWN = {name: value for name, value in DIALECTS.items() if value.honours}


def raw(value: Any) -> Raw:
    return Raw(json.dumps(value).encode())


# The catalogue


def test_what_the_core_thinks_ordinary_no_engine_ignores_and_no_client_is_denied() -> None:
    """The fast exit of `Pool.objections`: a call with nothing but these is placed without a look at the engines."""
    for operation in (Operation.CHAT, Operation.COMPLETIONS):
        for name, dialect in KNOWN.items():
            assert not ORDINARY_PARAMS & dialect.ignored(operation), name
    assert not ORDINARY_PARAMS & INTERNAL


def test_what_is_the_gateway_s_is_not_also_the_client_s() -> None:
    assert not INTERNAL & set(CHANGES_ANSWER)


@pytest.mark.parametrize(
    ("name", "value", "changes"),
    [
        ("top_k", -1, False),
        ("top_k", 0, False),
        ("top_k", 20, True),
        ("top_k", False, True),
        ("min_p", 0.0, False),
        ("repetition_penalty", 1, False),
        ("repetition_penalty", 1.0, False),
        ("repetition_penalty", 1.05, True),
        ("ignore_eos", False, False),
        ("ignore_eos", 0, True),
        ("ignore_eos", True, True),
        ("logit_bias", {}, False),
        ("logit_bias", {"1": -100}, True),
        ("guided_json", {}, True),
        ("guided_json", None, False),
        ("regex", "", True),
        ("logprobs", 0, True),
        ("logprobs", False, False),
        ("echo", "x" * 1000, True),
        ("response_format", {"type": "text"}, False),
        ("response_format", {"type": "json_object"}, True),
        ("response_format", {}, False),
        ("response_format", None, False),
        ("response_format", "json", True),
        ("text", {"format": {"type": "text"}, "verbosity": "low"}, False),
        ("text", {"verbosity": "low"}, False),
        ("text", {"format": {"type": "json_schema", "schema": {}}}, True),
        ("output_config", {"effort": "high"}, False),
        ("output_config", {"format": {"type": "json_schema"}}, True),
    ],
)
def test_a_value_that_changes_nothing_is_told_from_one_that_does(name: str, value: Any, changes: bool) -> None:
    assert changes_answer(name, raw(value)) is changes


@given(st.sampled_from(sorted(CHANGES_ANSWER)), st.binary(max_size=20))
def test_any_bytes_can_be_judged(name: str, value: bytes) -> None:
    assert changes_answer(name, Raw(value)) in (True, False)


def test_a_value_nested_too_deeply_is_the_engine_s_to_judge() -> None:
    deep = Raw(b"[" * 100_000 + b"]" * 100_000)
    assert decoded(deep) == bytes(deep)
    assert changes_answer("response_format", deep)


# The dialects


@pytest.mark.parametrize("name", KNOWN)
def test_a_dialect_speaks_of_parameters_that_change_the_answer(name: str) -> None:
    dialect = KNOWN[name]
    for operation, honoured in dialect.honours.items():
        assert honoured <= set(CHANGES_ANSWER), operation
    assert set(dialect.instead) <= set(CHANGES_ANSWER)
    assert set(dialect.renamed) <= set(CHANGES_ANSWER)
    honoured_anywhere = frozenset().union(*dialect.honours.values())
    assert set(dialect.renamed.values()) <= honoured_anywhere
    assert set(dialect.respelled) <= honoured_anywhere
    assert set(dialect.instead) & dialect.honours[Operation.CHAT] == set()


@pytest.mark.parametrize("name", KNOWN)
def test_what_an_engine_accepts_includes_what_it_honours_and_the_ordinary(name: str) -> None:
    for operation, accepted in KNOWN[name].accepts.items():
        assert KNOWN[name].honours[operation] <= accepted
        assert ORDINARY_PARAMS - {"prompt", "messages", "max_completion_tokens", "metadata"} <= accepted


def test_a_parameter_that_has_another_name_is_not_ignored() -> None:
    assert "thinking_budget_tokens" not in dialects.VLLM.ignored(Operation.CHAT)
    assert "thinking_budget_tokens" in dialects.SGLANG.ignored(Operation.CHAT)


def test_nothing_is_said_of_operations_that_are_not_looked_at() -> None:
    assert dialects.VLLM.ignored(Operation.TOKENIZE) == frozenset()
    assert dialects.UNKNOWN.ignored(Operation.CHAT) == frozenset()
