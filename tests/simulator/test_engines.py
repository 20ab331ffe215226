"""The model of an engine, against what can be reckoned by hand."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.simulator.engines import Curve, Engine, Job, Part, PrefixCache
from tests.simulator.timeline import Timeline

# A token of a prompt takes 10 ms; one answer alone gets 10 tokens a second, two get 5 each.
CURVE = Curve("test", 2, lambda tokens: tokens / 100, lambda answers: 0.1 * answers, 1_000)


class Scene:
    def __init__(self, curve: Curve = CURVE) -> None:
        self.timeline = Timeline()
        self.engine = Engine(curve, self.timeline)
        self.first: dict[str, float] = {}
        self.end: dict[str, float] = {}
        self.jobs: dict[str, Job] = {}

    def submit(self, name: str, prompt: list[Part], answer: int, at: float = 0.0) -> None:
        def on_first() -> None:
            self.first[name] = self.timeline.now

        def on_end() -> None:
            self.end[name] = self.timeline.now

        self.jobs[name] = Job(prompt, f"answer to {name}", answer, on_first, on_end)
        self.timeline.after(at, lambda: self.engine.submit(self.jobs[name]))


def test_one_call_alone() -> None:
    scene = Scene()
    scene.submit("a", [("x", 100)], 11)
    scene.timeline.run()
    assert (scene.first["a"], scene.end["a"]) == (pytest.approx(1.0), pytest.approx(2.0))
    assert scene.jobs["a"].cached_tokens == 0


def test_prompts_are_read_one_after_another_and_answers_share_the_speed() -> None:
    scene = Scene()
    scene.submit("a", [("x", 100)], 21)
    scene.submit("b", [("y", 100)], 21)
    scene.timeline.run()
    assert scene.first == {"a": pytest.approx(1.0), "b": pytest.approx(2.0)}
    # In its first second a gets 10 tokens alone, then both get 5 a second: a needs 2 s more, and b then has 10 left.
    assert scene.end == {"a": pytest.approx(4.0), "b": pytest.approx(5.0)}


def test_what_is_beyond_the_slots_waits_for_one() -> None:
    scene = Scene()
    for name in "abc":
        scene.submit(name, [(name, 100)], 1)
    scene.timeline.run()
    assert scene.engine.most_at_once == 3
    assert scene.first["c"] == pytest.approx(3.0)


def test_a_prompt_that_begins_like_another_is_read_from_there_on() -> None:
    scene = Scene()
    scene.submit("a", [("x", 100), ("y", 100)], 11)
    scene.submit("b", [("x", 100), ("y", 100), ("answer to a", 11), ("z", 50)], 1, at=10)
    scene.submit("c", [("x", 100), ("z", 100)], 1, at=20)
    scene.timeline.run()
    assert scene.jobs["b"].cached_tokens == 211
    assert scene.first["b"] == pytest.approx(10.5)
    assert scene.jobs["c"].cached_tokens == 100


def test_of_a_prompt_that_is_known_whole_the_last_token_is_read() -> None:
    scene = Scene()
    scene.submit("a", [("x", 100)], 1)
    scene.submit("b", [("x", 100)], 1, at=10)
    scene.timeline.run()
    assert scene.jobs["b"].cached_tokens == 99


def test_the_cache_forgets_what_was_unused_longest_and_ends_before_beginnings() -> None:
    cache = PrefixCache(250)
    cache.keep([("x", 100), ("y", 100)])
    cache.keep([("z", 100)])
    assert cache.match([("x", 100), ("y", 100)]) == 100
    assert cache.match([("z", 100)]) == 100


@given(st.lists(st.lists(st.tuples(st.sampled_from("abcdef"), st.just(60)), min_size=1, max_size=5), max_size=30))
def test_the_cache_never_grows_beyond_its_bound_and_never_finds_more_than_the_prompt(prompts: list[list[Part]]) -> None:
    cache = PrefixCache(300)
    for prompt in prompts:
        assert 0 <= cache.match(prompt) <= sum(tokens for _, tokens in prompt)
        cache.keep(prompt)
        assert cache.tokens <= 300


@settings(max_examples=50)
@given(st.lists(st.tuples(st.floats(0, 20), st.integers(1, 300), st.integers(1, 40)), min_size=1, max_size=20))
def test_every_call_ends_once_and_not_sooner_than_alone(calls: list[tuple[float, int, int]]) -> None:
    scene = Scene()
    for number, (at, prompt, answer) in enumerate(calls):
        scene.submit(str(number), [(str(number), prompt)], answer, at)
    scene.timeline.run()
    assert scene.end.keys() == scene.first.keys() == scene.jobs.keys()
    for number, (at, prompt, answer) in enumerate(calls):
        assert scene.first[str(number)] >= at + prompt / 100 - 1e-6
        assert scene.end[str(number)] >= scene.first[str(number)] + (answer - 1) * 0.1 - 1e-6
    assert scene.engine.running == 0
