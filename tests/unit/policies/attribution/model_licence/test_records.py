"""Records: what the built-in ones say, and that a bad one does not load, and says where and why."""

from __future__ import annotations

import datetime as dt
import hashlib
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.errors import ConfigError
from policies.attribution.model_licence.record_files import BUILT_IN, load
from policies.attribution.model_licence.records import Comparison, Quantity, Threshold

TODAY = dt.date(2026, 11, 23)
OVER_USERS = Threshold(quantity=Quantity.MONTHLY_ACTIVE_USERS, amount=100_000_000, comparison=Comparison.OVER)
OVER_REVENUE = Threshold(
    quantity=Quantity.MONTHLY_REVENUE, amount=20_000_000, currency="USD", comparison=Comparison.OVER
)
OURS = """\
id: ours
title: Ours
spdx: LicenseRef-Ours
models:
  - {id: us/ours}
verified: true
derivatives: inherit
display:
  string: Ours
  verified: true
  where: anywhere
  thresholds:
    - {quantity: monthly_active_users, amount: 10, comparison: at}
    - {quantity: monthly_revenue, amount: 10, currency: EUR, comparison: over}
summary: Show it.
"""


def written(folder: Path, **texts: str) -> Path:
    for name, text in texts.items():
        (folder / f"{name}.yaml").write_text(text)
    return folder


def problems_of(folder: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(folder)
    return list(caught.value.problems)


@pytest.mark.parametrize(
    ("name", "string", "verified"),
    [
        ("kimi-k2", "Kimi K2", True),
        ("kimi-k2-thinking", "Kimi K2", False),
        ("kimi-k2.5", "Kimi K2.5", True),
        ("kimi-k2.6", "Kimi K2.6", False),
        ("kimi-k3", "Kimi K3", False),
    ],
)
def test_what_must_be_shown_and_above_what(name: str, string: str, verified: bool) -> None:
    record = load()[name]
    assert record.display is not None
    assert (record.display.string, record.display.verified) == (string, verified)
    assert record.display.thresholds == (OVER_USERS, OVER_REVENUE)
    assert record.derivatives == "inherit"
    assert bool(record.doubts(TODAY)) is not verified


def test_k3_differs_in_kind() -> None:
    record = load()["kimi-k3"]
    rule = record.model_as_a_service
    assert rule is not None
    assert (rule.months, rule.amount, rule.currency, rule.comparison) == (12, 20_000_000, "USD", Comparison.OVER)
    assert rule.affiliates
    assert {each.id for each in record.exemptions} == {"internal_use", "certified_partner"}
    assert "MIT" not in record.spdx


def test_plain_licences_ask_for_nothing() -> None:
    records = load()
    assert [records[name].display for name in ("mit", "apache-2.0")] == [None, None]
    assert records["mit"].derivatives == "free"


def test_every_built_in_file_is_named_by_its_id() -> None:
    assert {file.stem for file in BUILT_IN.glob("*.yaml")} == set(load())


def test_a_folder_adds_records_and_their_digest_is_of_all_that_they_say(tmp_path: Path) -> None:
    before = load(written(tmp_path, ours=OURS))["ours"].digest
    after = load(written(tmp_path, ours=OURS.replace("Show it.", "Show it!")))["ours"].digest
    again = load(written(tmp_path, ours=OURS + "# a comment\n"))["ours"].digest
    assert len({before, after}) == 2
    assert before == again


def without(key: str) -> str:
    content: dict[str, Any] = yaml.safe_load(OURS)
    del content[key]
    return yaml.safe_dump(content, sort_keys=False)


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        (OURS.replace("currency: EUR", "currency: EUX"), 14, "'EUX' is no currency of ISO 4217"),
        (OURS.replace(" currency: EUR,", ""), 14, "money needs a currency"),
        (
            OURS.replace("amount: 10, comparison: at", "amount: 10, currency: EUR, comparison: at"),
            13,
            "has no currency",
        ),
        (
            OURS.partition("  thresholds")[0] + "summary: x\n",
            8,
            "thresholds: object missing required field `thresholds`",
        ),
        (OURS.partition("    - {q")[0].rstrip()[:-1] + ": []\nsummary: x\n", 8, "needs a threshold"),
        (
            OURS.replace("monthly_revenue, amount: 10, currency: EUR", "monthly_active_users, amount: 9"),
            8,
            "one quantity",
        ),
        (OURS.replace("comparison: at", "comparison: above"), 13, "invalid enum value 'above'"),
        (OURS.replace("amount: 10, comparison", "amount: -1, comparison"), 13, "expected `int` >= 1"),
        (OURS.replace("  string: Ours", "  sting: Ours"), 9, "unknown field `sting`"),
        (OURS.replace("string: Ours", 'string: "Ours; state=below"'), 9, "expected `str` matching regex"),
        (OURS.replace("string: Ours", 'string: "Ours\\r\\nx: y"'), 9, "expected `str` matching regex"),
        (OURS + "title: Again\n", 16, "stands twice"),
        (OURS + "source: javascript:alert(1)\n", 16, "source"),
        (OURS + "exemptions:\n  - {id: a, of: [model_as_a_service], text: x}\n", 1, "there is none"),
        (OURS.replace("id: ours\n", "id: none-recorded\n", 1), 1, "means that there is no record"),
        (OURS.replace("title: Ours", "title: [Ours"), 3, "not valid YAML"),
        (OURS + "effective_from: 2026-02-01\neffective_until: 2026-01-01\n", 1, "before effective_from"),
        (OURS.replace("id: ours\n", "id: mit\n", 1), 1, "'mit' is the id of"),
        (OURS.replace("  - {id: us/ours}", "  - {id: us/ours}\n  - {id: us/ours}"), 6, "stands twice"),
        ("- a list\n", 1, "expected `object`, got `array`"),
        ("", 1, "missing required field"),
        (without("verified"), 1, "missing required field `verified`"),
        (without("summary"), 1, "missing required field `summary`"),
    ],
)
def test_a_bad_record_says_its_file_its_line_and_why(tmp_path: Path, text: str, line: int, says: str) -> None:
    (problem,) = problems_of(written(tmp_path, ours=text))
    assert problem.startswith(f"{tmp_path / 'ours.yaml'}:{line}:"), problem
    assert says in problem


def test_every_bad_file_is_told_of_at_once(tmp_path: Path) -> None:
    written(tmp_path, a=OURS.replace("EUR", "EUX"), b="[", c=OURS)
    assert [Path(each.partition(":")[0]).name for each in problems_of(tmp_path)] == ["a.yaml", "b.yaml"]


def test_a_cycle_in_lineage_over_two_files(tmp_path: Path) -> None:
    def of(name: str, parent: str) -> str:
        return OURS.replace("id: ours", f"id: {name}").replace("us/ours}", f"us/{name}, derived_from: us/{parent}}}")

    (problem,) = problems_of(written(tmp_path, a=of("a", "b"), b=of("b", "a")))
    assert problem == f"{tmp_path / 'a.yaml'}:5: models[0].derived_from: cycle in lineage: us/a from us/b from us/a"


def test_a_way_that_ends_is_no_cycle(tmp_path: Path) -> None:
    text = OURS.replace("us/ours}", "us/a, derived_from: us/b}\n  - {id: us/b, derived_from: us/c}")
    assert "ours" in load(written(tmp_path, ours=text))


def test_a_text_beside_the_record_must_be_the_one_that_it_was_written_from(tmp_path: Path) -> None:
    (tmp_path / "ours.txt").write_text("Show it.")
    digest = hashlib.sha256(b"Show it.").hexdigest()
    text = f"{OURS}text_file: ours.txt\ntext_sha256: {digest}\n"
    assert load(written(tmp_path, ours=text))["ours"].text_sha256 == digest
    (tmp_path / "ours.txt").write_text("Show it!")
    (problem,) = problems_of(tmp_path)
    assert problem.startswith(f"{tmp_path / 'ours.yaml'}:17: text_sha256: digest mismatch: ours.txt has ")


@pytest.mark.parametrize(
    ("more", "line", "says"),
    [
        ("text_file: ours.txt\n", 1, "text_file needs text_sha256"),
        (f"text_file: ours.txt\ntext_sha256: {'f' * 64}\n", 16, "cannot be read: No such file"),
        (f"text_file: ../ours.txt\ntext_sha256: {'f' * 64}\n", 16, "a file in the same folder"),
    ],
)
def test_a_text_that_cannot_be_compared(tmp_path: Path, more: str, line: int, says: str) -> None:
    (problem,) = problems_of(written(tmp_path, ours=OURS + more))
    assert problem.startswith(f"{tmp_path / 'ours.yaml'}:{line}:")
    assert says in problem


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    (problem,) = problems_of(tmp_path / "nowhere")
    assert "cannot be read: No such file" in problem


def test_a_record_out_of_its_dates_is_doubted(tmp_path: Path) -> None:
    text = OURS + "effective_from: 2026-01-01\neffective_until: 2026-10-31\n"
    record = load(written(tmp_path, ours=text))["ours"]
    assert record.doubts(dt.date(2025, 12, 31)) == ["it does not hold before 2026-01-01"]
    assert record.doubts(TODAY) == ["it held until 2026-10-31"]
    assert record.doubts(dt.date(2026, 10, 31)) == []
