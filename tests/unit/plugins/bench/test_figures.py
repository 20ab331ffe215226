from __future__ import annotations

from plugins.bench.figures import ratios, saturated_from
from plugins.bench.plan import Endpoint, Plan
from plugins.bench.printing import page
from plugins.bench.running import Results, stages
from plugins.bench.samples import Sample, Window

A, B = Endpoint("A", "http://a"), Endpoint("B", "http://b")


def plan(*levels: int, rounds: int = 1, endpoints: tuple[Endpoint, ...] = (A,)) -> Plan:
    return Plan(
        endpoints=endpoints,
        model="kimi-k2",
        levels=levels,
        seconds=1.0,
        warm_up_seconds=0.0,
        rounds=rounds,
        stream=True,
        max_tokens=8,
        prompt_tokens=8,
        shared_prefix=False,
        timeout_seconds=10.0,
        seed=0,
    )


def window(at_once: int, tokens: int, first: float = 0.1, **more: float) -> Window:
    made = Window(at_once, seconds=1.0, **more)
    made.add(Sample(first_token=first, gaps=[0.01], total=1.0, output_tokens=tokens, events=2))
    return made


def test_endpoints_take_turns_and_neither_is_always_first() -> None:
    order = [(each.round, each.at_once, each.endpoint.label) for each in stages(plan(1, 8, rounds=2, endpoints=(A, B)))]
    assert order == [
        *((1, 1, "A"), (1, 1, "B"), (1, 8, "A"), (1, 8, "B")),
        *((2, 1, "B"), (2, 1, "A"), (2, 8, "B"), (2, 8, "A")),
    ]


def test_ratios_are_taken_round_by_round() -> None:
    results = Results(plan(4, rounds=3, endpoints=(A, B)))
    results.windows["A", 4] = [window(4, 100), window(4, 200), window(4, 100)]
    results.windows["B", 4] = [window(4, 150, 0.3), window(4, 220, 0.3), window(4, 90, 0.3)]
    found = {ratio.name: ratio for ratio in ratios(results, 4)}
    tokens, first = found["tokens/s"], found["TTFT p50"]
    assert (tokens.median, tokens.low, tokens.high) == (1.1, 0.9, 1.5)
    assert (tokens.better_rounds, tokens.rounds) == (2, 3)
    assert "no difference shown" in tokens.says
    assert (first.better_rounds, first.says) == (0, "A is better in every round"), "less time is better"


def test_a_level_that_is_not_worth_its_while() -> None:
    results = Results(plan(1, 4, 16, 64))
    for level, tokens in ((1, 100), (4, 380), (16, 400), (64, 500)):
        results.windows["A", level] = [window(level, tokens)]
    assert saturated_from(results, "A") == 16
    results.windows["A", 16] = [window(16, 500)]
    results.windows["A", 64] = [window(64, 1000)]
    assert saturated_from(results, "A") is None


def test_the_page_tells_what_to_be_careful_about() -> None:
    results = Results(plan(1, 4, rounds=2, endpoints=(A, B)))
    results.windows["A", 1] = [window(1, 10, cpu_cores=0.9)]
    results.windows["B", 1] = [Window(1, seconds=1.0)]
    shown = page(results)
    assert "A, 1 at once: the figures are in part this client's own: it used 0.90 cores" in shown
    assert "B, 1 at once: no call ended within 1 s" in shown
    assert "fewer rounds than 5 show little" in shown
    assert "nothing that both have" in shown


def test_errors_stand_below_the_table_with_what_was_said() -> None:
    results = Results(plan(2))
    made = Window(2, seconds=1.0)
    made.add(Sample(error="status_429", detail="Limit requests: try again"))
    results.windows["A", 2] = [made]
    assert "2 at once: 1 x status_429: Limit requests: try again" in page(results)
