"""From answers to estimates and verdicts: each endpoint sees what it is for, and nothing is made of too little."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import ConfigError
from plugins.experiments.compare.divergence import diverge
from plugins.experiments.compare.endpoints import ENDPOINTS, Findings, conformances, find
from plugins.experiments.compare.f1 import compare_f1, f1_interval
from plugins.experiments.compare.likeness import common_characters
from plugins.experiments.compare.observed import Observed
from plugins.experiments.compare.requirements import meet, parse_requirement
from plugins.experiments.compare.results import Answer, Checks, Result, ToolCall
from plugins.experiments.statistics.checking import NotEnough
from tests.unit.plugins.experiments.compare.made import answer, result, write_run

CALLED = [ToolCall("look", '{"city":"Oslo"}', "call_1")]


def tool_answer(*, called: bool = True) -> Answer:
    if not called:
        return answer()
    return answer(text="", tool_calls=CALLED, finish_reason="tool_calls")


def both(number: int, a: Answer, b: Answer, **more: Any) -> list[Result]:
    return [result("a", number, said=a, **more), result("b", number, said=b, **more)]


def found(folder: Path, results: list[Result], **more: Any) -> Findings:
    return find(write_run(folder, results, **more))


def test_there_is_a_verdict_on_every_endpoint_whatever_there_is(tmp_path: Path) -> None:
    findings = found(tmp_path, both(0, answer(), answer()))
    for name in ENDPOINTS:
        assert findings.verdict(name).endpoint == name
    assert findings.verdict("schema_accuracy").says == "undecided: an arm made no tool call"
    assert findings.verdict("success_rate").verdict == "undecided"


def test_failures_lower_the_success_rate_and_make_latencies_slow(tmp_path: Path) -> None:
    broken = answer(text="", error="timed_out", ttft_seconds=None, gaps_seconds=[], finish_reason=None)
    results = [each for number in range(200) for each in both(number, answer(), broken if number % 4 else answer())]
    findings = found(tmp_path, results)
    assert findings.verdict("success_rate").verdict == "inferior"
    assert findings.verdict("total_p50").verdict == "slower"
    assert findings.verdict("ttft_p50").upper == float("inf")
    assert findings.verdict("nonempty_rate").calls == 50, "of failures there is nothing to say"


def test_time_per_token_is_of_the_tokens_after_the_first(tmp_path: Path) -> None:
    slow = answer(gaps_seconds=[0.1, 0.1, 0.1], total_seconds=0.5)
    observed = write_run(tmp_path, [each for number in range(80) for each in both(number, answer(), slow)])
    assert [each.token_seconds for each in (observed.of("a")[0], observed.of("b")[0])] == pytest.approx([0.02, 0.1])
    assert observed.of("a")[0].worst_gap_seconds == 0.04
    findings = find(observed)
    assert findings.verdict("time_per_output_token_p50").verdict == "slower"
    assert findings.verdict("ttft_p50").effect == pytest.approx(1.0)


def test_schema_accuracy_is_of_answers_that_call(tmp_path: Path) -> None:
    results = []
    for number in range(120):
        valid, invalid = Checks(schema_valid=True), Checks(schema_valid=False, fault="x")
        results.append(result("a", number, said=tool_answer(), checks=valid))
        results.append(result("b", number, said=tool_answer(), checks=invalid if number % 3 == 0 else valid))
    findings = found(tmp_path, results)
    verdict = findings.verdict("schema_accuracy")
    assert verdict.verdict == "inferior"
    assert verdict.effect == pytest.approx(-1 / 3)
    assert findings.verdict("tool_call_rate").effect is None, "no tools were declared"


def triggers(observed: Observed) -> tuple[float, float]:
    effect, _ = compare_f1(observed, 0.9)
    return effect.effect, effect.upper - effect.lower


def test_f1_is_against_the_reference_where_there_is_one(tmp_path: Path) -> None:
    results = []
    for number in range(100):
        wanted = number < 50
        more = {"reference": "tool_calls" if wanted else "stop", "declares_tools": True}
        # A: 40 true, 10 missed, 10 false. B: as the reference.
        of_a = number < 40 or number >= 90
        results += both(number, tool_answer(called=of_a), tool_answer(called=wanted), **more)
    observed = write_run(tmp_path, results)
    interval = f1_interval(observed, "a")
    assert interval is not None
    assert interval.value == pytest.approx(0.8)
    effect, width = triggers(observed)
    assert effect == pytest.approx(0.2)
    assert 0.05 < width < 0.4


def test_f1_without_a_reference_is_less_a_s_own_noise(tmp_path: Path) -> None:
    chance = random.Random(3)
    results = []
    for number in range(300):
        for copy in (0, 1):
            for arm in ("a", "b"):
                said = tool_answer(called=chance.random() < 0.5)
                results.append(result(arm, number, said=said, copy=copy, greedy=False))
    effect, width = triggers(write_run(tmp_path, results, copies=2))
    assert abs(effect) < width, "two coins agree with each other as little as one with itself"


def test_sampled_answers_without_reference_or_null_tell_nothing_of_agreement(tmp_path: Path) -> None:
    results = [each for n in range(9) for each in both(n, tool_answer(), tool_answer(), greedy=False)]
    findings = found(tmp_path, results)
    with pytest.raises(NotEnough, match="--null"):
        compare_f1(write_run(tmp_path, []), 0.9)
    for name in ("tool_call_f1", "finish_agreement"):
        assert "--null" in findings.verdict(name).says
    assert findings.verdict("greedy_agreement").says == "undecided: no greedy calls"


def test_few_calls_without_a_difference_are_no_equivalence(tmp_path: Path) -> None:
    more = {"reference": "tool_calls", "declares_tools": True}
    few = [each for n in range(20) for each in both(n, tool_answer(), tool_answer(), **more)]
    assert found(tmp_path, few).verdict("tool_call_f1").verdict == "undecided"
    (tmp_path / "many").mkdir()
    many = [each for n in range(150) for each in both(n, tool_answer(), tool_answer(), **more)]
    assert found(tmp_path / "many", many).verdict("tool_call_f1").verdict == "equivalent"


def test_greedy_agreement_forgives_what_a_does_to_itself(tmp_path: Path) -> None:
    results = []
    for number in range(400):
        noisy = number % 5 == 0
        for arm in ("a", "b"):
            for copy in (0, 1):
                own = f"{arm}{copy}" if noisy else "same"
                results.append(result(arm, number, said=answer(own), copy=copy))
    verdict = found(tmp_path, results, copies=2).verdict("greedy_agreement")
    assert (verdict.verdict, verdict.effect) == ("equivalent", 0.0)


def test_tool_calls_agree_whatever_their_ids_and_spaces(tmp_path: Path) -> None:
    spaced = answer(text="", tool_calls=[ToolCall("look", '{ "city": "Oslo" }', "other")], finish_reason="tool_calls")
    observed = write_run(tmp_path, both(0, tool_answer(), spaced))
    assert diverge(tmp_path, observed.pairs()).alike == 1


def test_repeated_calls_are_no_more_calls(tmp_path: Path) -> None:
    once = [each for n in range(60) for each in both(n, answer(), answer())]
    often = [
        result(arm, n, repeat=r)
        for n in range(60)
        for r in range(5)
        for arm in ("a", "b")  # type: ignore[arg-type]
    ]
    (tmp_path / "often").mkdir()
    first, second = (
        found(tmp_path, once).verdict("success_rate"),
        found(tmp_path / "often", often, repeats=5).verdict("success_rate"),
    )
    assert second.calls == 5 * first.calls
    assert second.upper == pytest.approx(first.upper, rel=0.05), "five times the same call is one call's worth"


def test_divergence_finds_where_answers_part(tmp_path: Path) -> None:
    results = [*both(0, answer("abcdefghij"), answer("abcdefghij")), *both(1, answer("abcdefghij"), answer("abcdeXX"))]
    results += both(2, answer("abc"), answer("xyz"), greedy=False)
    found_ = diverge(tmp_path, write_run(tmp_path, results).pairs())
    assert (found_.pairs, found_.alike, found_.median_same_characters) == (2, 1, 5)
    assert found_.by_part[7] == 1
    assert (found_.examples[0].call, found_.examples[0].b) == ("call-1", "abcdeXX")
    assert common_characters("ab", "abc") == 2


def test_log_probabilities_are_compared_up_to_where_answers_part(tmp_path: Path) -> None:
    a = answer("one", tokens=[("a", -0.1, "a"), ("b", -0.2, "b"), ("c", -0.3, "c")])
    b = answer("two", tokens=[("a", -0.2, "a"), ("x", -0.9, "x"), ("c", -9.0, "c")])
    told = diverge(tmp_path, write_run(tmp_path, both(0, a, b)).pairs()).log_probabilities
    assert (told.tokens, told.top_agreement) == (2, 0.5)
    assert told.largest_difference == pytest.approx(0.1)
    assert told.mean_difference == pytest.approx(0.1)


def test_another_number_of_prompt_tokens_is_told(tmp_path: Path) -> None:
    observed = write_run(tmp_path, both(0, answer(), answer(prompt_tokens=7)))
    assert diverge(tmp_path, observed.pairs()).prompt_tokens_differ == 1


def test_conformance_counts_by_arm(tmp_path: Path) -> None:
    leak = result("b", 0, checks=Checks(marker="<|im_end|>"))
    empty = result("b", 1, said=answer(text=""), checks=Checks(empty=True))
    told = {each.endpoint: (each.verdict, each.failed) for each in conformances(write_run(tmp_path, [leak, empty]))}
    assert told["b: marker_leaks"] == told["b: empty_answers"] == ("fail", 1)
    assert told["b: errors"] == ("pass", 0)
    assert told["a: errors"] == told["b: invalid_json"] == ("undecided", 0)


def test_requirements_are_met_by_their_own_margin(tmp_path: Path) -> None:
    findings = found(tmp_path, [each for n in range(100) for each in both(n, answer(), answer())])
    assert meet(parse_requirement("equivalent:success_rate@0.05"), findings).met is True
    assert meet(parse_requirement("not-inferior:success_rate@0.05"), findings).met is True
    tight = meet(parse_requirement("equivalent:success_rate@0.001"), findings)
    assert tight.met is False
    assert "margin 0.1 pp" in tight.says


@pytest.mark.parametrize(
    ("requirement", "says"),
    [
        ("equivalent", "is not WORD:ENDPOINT"),
        ("same:schema_accuracy", "there is no 'same'"),
        ("equivalent:schema_acuracy", "no endpoint is named 'schema_acuracy'; there is schema_accuracy"),
        ("equivalent:schema_accuracy@2", "margin must be above 0 and below 1"),
        ("equivalent:ttft_p50@0", "margin must be above 0"),
        ("equivalent:schema_accuracy@-", "could not convert"),
        ("faster:schema_accuracy", "is no latency"),
    ],
)
def test_a_wrong_requirement_is_refused(requirement: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        parse_requirement(requirement)
