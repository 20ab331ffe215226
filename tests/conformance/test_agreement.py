"""The comparison sees what differs; no engine is asked."""

from __future__ import annotations

import pytest

from tests.conformance.agreement import Said, compare, read_prompts, row

WANTED = Said("3 + 4 = 7", (("3", -0.1), (" +", -0.2), (" 4", -0.3)), 15)


def said(*tokens: tuple[str, float], text: str = "3 + 4 = 7", prompt_tokens: int = 15) -> Said:
    return Said(text, tokens, prompt_tokens)


def test_the_same_is_the_same() -> None:
    found = compare(WANTED, WANTED)
    assert (found.same_text, found.same_tokens, found.parted, found.max_delta, found.same_prompt) == (
        True,
        3,
        False,
        0.0,
        True,
    )


def test_the_largest_difference_counts() -> None:
    found = compare(said(("3", -0.15), (" +", -0.5), (" 4", -0.3)), WANTED)
    assert found.max_delta == pytest.approx(0.3)


def test_tokens_after_the_parting_are_not_compared() -> None:
    found = compare(said(("3", -0.1), (" -", -9.0), (" 4", -9.0), text="3 - 4"), WANTED)
    assert (found.same_tokens, found.parted, found.same_text) == (1, True, False)
    assert found.max_delta == pytest.approx(0)


def test_another_template_is_seen() -> None:
    assert not compare(said(prompt_tokens=16), WANTED).same_prompt


def test_an_engine_without_log_probabilities_is_no_zero() -> None:
    found = compare(said(), WANTED)
    assert found.max_delta is None
    assert row("x", [found])[3:] == ["no log-probabilities", "unknown"]


def test_there_are_prompts_that_were_held_out() -> None:
    prompts = read_prompts()
    assert len(prompts) >= 20
    assert any(prompt.get("tools") for prompt in prompts)
