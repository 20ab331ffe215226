"""What must be found, with real engines: the same weights are the same, and each thing that may be wrong is called by its name."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from tests.engines.verify.conftest import Json, Lab, Verified
from tests.engines.verify.variants import (
    copy,
    join_digits,
    lose_merges,
    swap_ids,
    with_template,
    with_tokenizer,
    with_weights,
)

pytestmark = pytest.mark.engine("torch_reference")
SAME = dict.fromkeys(("model", "tokenizer", "template", "tools", "greedy", "logprobs"), "same")


def another_default(template: str) -> str:
    return template.replace("a small assistant served by moegate", "an assistant")


def another_return(template: str) -> str:
    """Only conversations with a tool's result show it."""
    return template.replace("## Return of", "## Result of")


def another_role(template: str) -> str:
    """Only turns before the last show it."""
    return template.replace("<|im_assistant|>{{ message.name or 'assistant' }}", "<|im_assistant|>{{ 'ai' }}")


# Per batch and name, how its checkpoint is made. One run of the command serves a batch: the reference is asked once.
BATCHES: dict[str, dict[str, Callable[[Path, Path], Path]]] = {
    "same": {"copy": copy, "bfloat16": lambda model, _: model},
    "weights": {
        "another": lambda model, folder: with_weights(model, folder, "noise", 0.1),
        "trained-on": lambda model, folder: with_weights(model, folder, "noise", 0.001),
        "INT8": lambda model, folder: with_weights(model, folder, "rows", 8),
        "INT4": lambda model, folder: with_weights(model, folder, "groups", 4),
    },
    "templates": {
        "default": lambda model, folder: with_template(model, folder, another_default),
        "return": lambda model, folder: with_template(model, folder, another_return),
        "role": lambda model, folder: with_template(model, folder, another_role),
    },
    "tokenizers": {
        "swapped": lambda model, folder: with_tokenizer(model, folder, swap_ids),
        "merges": lambda model, folder: with_tokenizer(model, folder, lose_merges),
        "digits": lambda model, folder: with_tokenizer(model, folder, join_digits),
    },
}
Batch = Callable[[str], Verified]


@pytest.fixture(scope="module")
def batch(lab: Lab, reference: Json) -> Batch:
    """Verifies a batch, once."""

    @cache
    def verified(name: str) -> Verified:
        replicas, started = [], []
        for variant, make in BATCHES[name].items():
            options = ("--dtype", "bfloat16") if variant == "bfloat16" else ()
            model = make(lab.model, lab.folder / variant)
            replica = {"name": variant, "backend": "torch_reference", "url": lab.engine(model, *options).url}
            started.append((model, *options))
            if variant.startswith("INT"):
                replica["checkpoint"] = {"id": "moegate/k2-tiny", "context_length": 8192, "weight_format": variant}
            replicas.append(replica)
        try:
            return lab.verify(reference, *replicas)
        finally:
            for each in started:
                lab.end(*each)

    return verified


def test_the_same_weights_are_the_same_to_the_last_digit(batch: Batch) -> None:
    found = batch("same")
    assert found.status == 0
    assert found.verdicts("copy") == SAME
    figures = found.replica("copy")["figures"]
    assert figures["max_difference"] < 1e-5
    assert figures["agreed"] == figures["tokens"] >= 100
    assert figures["others"] >= 100
    assert found.replica("copy")["judged_as"] == "float32"
    assert "by token ids" in found.detail("copy", "template")


def test_rounding_to_bfloat16_is_no_other_checkpoint(batch: Batch) -> None:
    found = batch("same")
    assert found.verdicts("bfloat16") == SAME
    assert found.replica("bfloat16")["judged_as"] == "bfloat16"
    # But it is told from float32 where float32 is claimed.
    assert found.replica("bfloat16")["figures"]["max_difference"] > 1e-3


def test_another_checkpoint(batch: Batch) -> None:
    found = batch("weights")
    assert found.status == 1
    assert found.verdicts("another") == {**SAME, "greedy": "differs", "logprobs": "differs"}
    assert "first at token " in found.detail("another", "greedy")
    assert "largest at token " in found.detail("another", "logprobs")


def test_a_checkpoint_that_was_hardly_trained_on(batch: Batch) -> None:
    """A thousandth of each matrix's spread: no answer changes, the numbers do."""
    assert batch("weights").verdicts("trained-on") == {**SAME, "logprobs": "differs"}


def test_quantised_weights_are_reported_by_how_much(batch: Batch) -> None:
    found = batch("weights")
    for name in ("INT8", "INT4"):
        verdicts = found.verdicts(name)
        assert verdicts == {**SAME, "greedy": verdicts["greedy"], "logprobs": "differs"}
        assert f"its weights are said to be {name}, the reference's bf16" in found.detail(name, "logprobs")
        print(name, json.dumps(found.replica(name)["figures"]))  # noqa: T201 - what this test is for
    int8, int4 = (found.replica(name)["figures"]["mean_difference_of_others"] for name in ("INT8", "INT4"))
    assert 0.001 < int8 < int4


@pytest.mark.parametrize(("name", "first"), [("default", "'hello'"), ("role", "'turns'")])
def test_another_chat_template(batch: Batch, name: str, first: str) -> None:
    found = batch("templates")
    assert found.status == 1
    assert found.verdicts(name) == {**SAME, "template": "differs", "tools": "cannot tell"}
    assert f"first {first}, token " in found.detail(name, "template")


def test_a_chat_template_that_writes_tools_otherwise(batch: Batch) -> None:
    found = batch("templates")
    assert found.verdicts("return") == {**SAME, "tools": "differs"}
    assert "first 'tool_result', token " in found.detail("return", "tools")


@pytest.mark.parametrize("name", BATCHES["tokenizers"])
def test_a_wrong_tokenizer(batch: Batch, name: str) -> None:
    found = batch("tokenizers")
    assert found.status == 1
    # The weights are asked by the reference's ids, and are not blamed.
    verdicts = found.verdicts(name)
    assert verdicts == {**SAME, "tokenizer": "differs", "template": verdicts["template"], "tools": verdicts["tools"]}
    assert ", token " in found.detail(name, "tokenizer")
    # Nor are the conversations that it happens to cut otherwise, and not all hold what it does.
    others = [(verdicts[check], found.detail(name, check)) for check in ("template", "tools")]
    assert {verdict for verdict, _ in others} <= {"same", "cannot tell"}
    assert any(
        verdict == "cannot tell" and detail.startswith("its tokenizer differs, and so would these: ")
        for verdict, detail in others
    )


def test_a_wrong_name_and_an_engine_that_is_down(lab: Lab, reference: Json) -> None:
    again = {**reference, "name": "again"}
    down = {**reference, "name": "down", "url": "http://127.0.0.1:1"}
    found = lab.verify(reference, again, down)
    assert found.verdicts("again") == SAME
    assert found.replica("down")["unreachable"]
    assert found.status == 2
    wrong = {**reference, "name": "wrong", "served_model": "kimi-k3"}
    found = lab.verify(reference, wrong)
    assert found.verdicts("wrong") == {"model": "differs"}
    assert found.detail("wrong", "model") == "it serves 'kimi-k2', not 'kimi-k3'"
    assert found.status == 1


def test_for_people(lab: Lab, reference: Json) -> None:
    again = {**reference, "name": "again"}
    found = lab.verify(reference, again, arguments=("--replica", "again", "--tokens", "4"))
    assert found.status == 0
    assert found.text.startswith("kimi-k2, compared with reference\nREPLICA ")
    assert "again      torch_reference" in found.text
