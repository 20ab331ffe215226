"""The arms, the order in which they are asked, what is written down, and how progress is told."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from msgspec import structs

from gateway.errors import ConfigError
from plugins.experiments.compare.arms import Arm, Ask, Order, parse_arm
from plugins.experiments.compare.progress import duration, line
from plugins.experiments.compare.record import check_same
from plugins.experiments.compare.results import RESULTS, ResultLog, read_result, read_results
from plugins.experiments.compare.running import Standing
from tests.unit.plugins.experiments.compare.made import plan, result


def test_an_arm_is_a_backend_or_a_replica() -> None:
    assert parse_arm("--a", "backend=vllm") == Arm("backend", "vllm")
    assert parse_arm("--b", "replica=eu/a-1").pin == "replica=eu/a-1"
    for wrong in ("vllm", "backend=", "engine=vllm", "backend=a b", "replica=a\r\nx: y"):
        with pytest.raises(ConfigError, match="--a"):
            parse_arm("--a", wrong)


def test_every_call_is_asked_once_of_each_arm_in_a_drawn_order() -> None:
    order = Order(calls=40, repeats=3, copies=2, seed=1)
    asks = list(order)
    assert len(asks) == len(order) == len(set(asks)) == 480
    assert asks == list(order), "the same seed, the same order"
    assert asks != list(structs.replace(order, seed=2))
    pairs = list(zip(asks[::2], asks[1::2], strict=True))
    assert all(first[:3] == second[:3] and first.arm != second.arm for first, second in pairs)
    firsts = Counter(first.arm for first, _ in pairs)
    assert min(firsts.values()) > 80, "who is asked first is a fair coin"


def test_half_a_line_is_cut_off_and_asked_again(tmp_path: Path) -> None:
    with ResultLog(tmp_path) as log:
        log.add(result("a", 0))
        log.add(result("b", 0))
    file = tmp_path / RESULTS
    whole = file.read_bytes()
    file.write_bytes(whole + b'{"number":1,"arm":"a"')
    assert [each.ask for _, each in read_results(tmp_path)] == [Ask(0, 0, 0, "a"), Ask(0, 0, 0, "b")]
    with ResultLog(tmp_path):
        assert file.read_bytes() == whole
    file.write_bytes(b'{"num')
    with ResultLog(tmp_path):
        assert file.read_bytes() == b""


def test_a_damaged_line_in_the_middle_is_told(tmp_path: Path) -> None:
    with ResultLog(tmp_path) as log:
        log.add(result("a", 0))
    with (tmp_path / RESULTS).open("ab") as file:
        file.write(b'{"number":\n')
    with pytest.raises(ConfigError, match=r"results.jsonl:2: no result"):
        list(read_results(tmp_path))


def test_the_first_result_of_an_asking_counts_and_can_be_read_again(tmp_path: Path) -> None:
    with ResultLog(tmp_path) as log:
        for number in (0, 1, 0):
            log.add(result("a", number, reference="stop"))
    found = list(read_results(tmp_path))
    assert [each.number for _, each in found] == [0, 1]
    assert all(read_result(tmp_path, start) == each for start, each in found)


def test_two_runs_do_not_write_to_one_folder(tmp_path: Path) -> None:
    with ResultLog(tmp_path), pytest.raises(ConfigError, match="another run writes there"):
        ResultLog(tmp_path)


def test_what_a_run_is_gone_on_with_must_be_the_same(tmp_path: Path) -> None:
    before = plan(4)
    check_same(tmp_path, before, plan(4, url="http://127.0.0.1:9", concurrency=2, rate=3.0, data="elsewhere.jsonl"))
    with pytest.raises(ConfigError) as raised:
        check_same(tmp_path, before, plan(4, digest="e", changes={"temperature": 0.5}))
    assert len(raised.value.problems) == 2
    assert "digest 'd', not 'e'" in raised.value.problems[0]


def test_progress_says_how_much_longer() -> None:
    standing = Standing(total=100, before=20, done=60, errors=Counter(b=3), began=10.0)
    assert line(standing, 30.0) == "60 of 100 calls (60%), 2 a second, about 20 s left, 3 errors of b"
    fresh = Standing(total=100, before=20, done=20, errors=Counter(), began=10.0)
    assert line(fresh, 10.0) == "20 of 100 calls (20%)"
    assert [duration(each) for each in (59.6, 185, 7800)] == ["1 min 0 s", "3 min 5 s", "2 h 10 min"]
