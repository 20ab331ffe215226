from __future__ import annotations

import pytest

from gateway import Checkpoint
from plugins.engine_verify.comparing import CutComparison, CutDifference
from plugins.engine_verify.evidence import Followed, Identity, Place, Token
from plugins.engine_verify.judging import (
    Check,
    Finding,
    Verdict,
    judge_all_cuts,
    judge_cuts,
    judge_model,
    judge_scores,
    precision_of,
    quantisation,
    with_weights,
)
from plugins.engine_verify.settings import EngineVerifySettings, Precision, Tolerance

SHA = "0123456789abcdef0123456789abcdef01234567"
CHECKPOINT = Checkpoint(id="moonshotai/Kimi-K2-Instruct", revision=SHA, context_length=10)
TOLERANCE = Tolerance(mean_nats=0.01, largest_nats=0.1, others_mean_nats=0.02)


@pytest.mark.parametrize(
    ("identity", "verdict", "said"),
    [
        (Identity(("kimi-k2", "lora")), Verdict.SAME, "tells no checkpoint"),
        (Identity(("other",)), Verdict.DIFFERS, "'other', not 'kimi-k2'"),
        (Identity(()), Verdict.DIFFERS, "nothing, not"),
        (Identity(None), Verdict.CANNOT_TELL, "lists no models"),
        (Identity(("kimi-k2",), {"loaded": CHECKPOINT.id}), Verdict.SAME, CHECKPOINT.id),
        (Identity(("kimi-k2",), {"loaded": "moonshotai/Kimi-K2.5"}), Verdict.DIFFERS, "checkpoint is 'moonshotai/Kimi-K2.5'"),
        (Identity(None, {"loaded": "moonshotai/Kimi-K2.5"}), Verdict.DIFFERS, "Kimi-K2.5"),
        (Identity(("kimi-k2",), {"loaded": "/models/whatever"}), Verdict.SAME, "tells no checkpoint"),
        (Identity(("kimi-k2",), {"revision": SHA}), Verdict.SAME, SHA),
        (Identity(("kimi-k2",), {"revision": "f" * 40}), Verdict.DIFFERS, "revision"),
        (
            Identity(("kimi-k2",), {"loaded": f"/hub/models--moonshotai--Kimi-K2-Instruct/snapshots/{SHA}"}),
            Verdict.SAME,
            SHA,
        ),
        (
            Identity(("kimi-k2",), {"loaded": f"/hub/models--moonshotai--Kimi-K2-Instruct/snapshots/{'e' * 40}/"}),
            Verdict.DIFFERS,
            "revision is 'eeee",
        ),
    ],
)  # fmt: skip
def test_the_model_is_what_the_configuration_says(identity: Identity, verdict: Verdict, said: str) -> None:
    finding = judge_model(identity, "kimi-k2", CHECKPOINT)
    assert finding.verdict is verdict
    assert said in finding.detail


def test_a_branch_s_name_says_nothing_of_a_revision() -> None:
    named = Checkpoint(id=CHECKPOINT.id, revision="main", context_length=10)
    assert judge_model(Identity(("m",), {"revision": SHA}), "m", named).verdict is Verdict.SAME


@pytest.mark.parametrize(
    ("told", "precision"),
    [
        (("float32", "fp32"), Precision.FLOAT32),
        (("torch.float32", "F32"), Precision.FLOAT32),
        (("float32", "bfloat16"), Precision.BFLOAT16),
        (("float32", None), Precision.BFLOAT16),
        (("auto", "float32"), Precision.BFLOAT16),
        (("float321", "float32"), Precision.BFLOAT16),
    ],
)
def test_float32_is_for_those_who_both_say_it(told: tuple[str | None, ...], precision: Precision) -> None:
    assert precision_of(*told) is precision


def test_cuts() -> None:
    def judged(comparison: CutComparison) -> tuple[Verdict, str]:
        finding = judge_cuts(Check.TOKENIZER, comparison)
        return finding.verdict, finding.detail

    assert judged(CutComparison(by_ids=3)) == (Verdict.SAME, "3 prompts by token ids")
    verdict, detail = judged(CutComparison(by_ids=1, by_count=2, unknown=(("x", "no usage"),)))
    assert verdict is Verdict.SAME
    assert detail == (
        "1 prompts by token ids, 2 prompts by their number of tokens alone; 1 could not be compared (no usage)"
    )
    assert judged(CutComparison(unknown=(("x", "no"),))) == (Verdict.CANNOT_TELL, "1 could not be compared (no)")
    assert judged(CutComparison())[0] is Verdict.CANNOT_TELL
    verdict, detail = judged(CutComparison(by_ids=2, differences=(CutDifference("spaces", 4, 7, None),)))
    assert (verdict, detail) == (Verdict.DIFFERS, "1 of 2 prompts; first 'spaces', token 4: id 7 there, the end here")
    verdict, detail = judged(CutComparison(by_count=1, differences=(CutDifference("code", None, 9, 12),)))
    assert detail == "1 of 1 prompts; first 'code': 9 tokens there, 12 here"


def test_what_comes_first_is_blamed() -> None:
    same, other = CutComparison(by_ids=1), CutComparison(by_ids=1, differences=(CutDifference("p", 0, 1, 2),))

    def judged(*cuts: CutComparison) -> list[Verdict]:
        return [finding.verdict for finding in judge_all_cuts(*cuts)]

    assert judged(other, other, other) == [Verdict.DIFFERS, Verdict.CANNOT_TELL, Verdict.CANNOT_TELL]
    assert judged(same, other, other) == [Verdict.SAME, Verdict.DIFFERS, Verdict.CANNOT_TELL]
    assert judged(same, same, other) == [Verdict.SAME, Verdict.SAME, Verdict.DIFFERS]
    assert judged(other, same, other) == [Verdict.DIFFERS, Verdict.SAME, Verdict.CANNOT_TELL]
    assert judged(CutComparison(), other, same) == [Verdict.CANNOT_TELL, Verdict.DIFFERS, Verdict.SAME]


def test_a_tokenizer_that_cuts_what_was_said_alike_is_not_blamed_for_the_template() -> None:
    other = CutComparison(by_ids=1, differences=(CutDifference("p", 0, 1, 2),))
    elsewhere = CutComparison(by_ids=2, differences=other.differences, alike=frozenset({"said"}))
    verdicts = [finding.verdict for finding in judge_all_cuts(elsewhere, other, other)]
    # Of tools it may still be the cause: declarations hold what no other text does.
    assert verdicts == [Verdict.DIFFERS, Verdict.DIFFERS, Verdict.CANNOT_TELL]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("float32", "bf16"), None),
        (("fp16", "f32"), None),
        (("all F32", "gguf-f32"), None),
        (("BF16", None), None),
        ((None, None), None),
        (("w4a16",), ("w", "4")),
        (("RAWINT4", "bf16"), ("int", "4")),
        (("float32", "kt-amxint8"), ("int", "8")),
        (("FP8", None), ("float", "8")),
        (("float8_e4m3fn",), ("float", "8")),
        (("nvfp4",), ("float", "4")),
        (("gguf-q8_0",), ("q", "8")),
        (("gguf-q4_K_M",), ("q", "4")),
    ],
)
def test_few_bits_are_known_by_their_names(words: tuple[str | None, ...], found: tuple[str, str] | None) -> None:
    assert quantisation(*words) == found


@pytest.mark.parametrize(
    ("own", "other", "verdict", "said"),
    [
        (("BF16", "bf16"), ("float32", "bf16"), Verdict.SAME, ""),
        ((None, None), ("float32", "bf16"), Verdict.SAME, ""),
        (("FP8", "fp8"), (None, "fp8"), Verdict.SAME, ""),
        (("all F32", "gguf-f32"), ("float32", "bf16"), Verdict.SAME, "gguf-f32, the reference's bf16"),
        ((None, "bf16"), ("float32", None), Verdict.SAME, "bf16, the reference's float32"),
        (("FP8", "bf16"), ("float32", "bf16"), Verdict.DIFFERS, "FP8, the reference's bf16"),
        ((None, "fp8"), ("float32", "bf16"), Verdict.DIFFERS, "fp8, the reference's bf16"),
        (("int8", None), (None, None), Verdict.DIFFERS, "int8, the reference's nothing"),
    ],
)
def test_weights_of_fewer_bits_are_others_though_the_numbers_are_near(
    own: tuple[str | None, ...], other: tuple[str | None, ...], verdict: Verdict, said: str
) -> None:
    found = with_weights(Finding(Check.LOGPROBS, Verdict.SAME, "near"), own, other, Precision.BFLOAT16)
    between = ": no more than rounding, but " if verdict is Verdict.DIFFERS else "; "
    assert found.verdict is verdict
    assert found.detail == (f"near{between}its weights are said to be {said}" if said else "near")


def test_what_is_said_of_weights_mends_no_other_verdict() -> None:
    far = Finding(Check.LOGPROBS, Verdict.DIFFERS, "far")
    assert with_weights(far, ("FP8", None), ("bf16", None), Precision.BFLOAT16).detail == (
        "far; its weights are said to be FP8, the reference's bf16"
    )
    unknown = Finding(Check.LOGPROBS, Verdict.CANNOT_TELL, "none")
    found = with_weights(unknown, ("FP8", None), ("bf16", None), Precision.BFLOAT16)
    assert found.verdict is Verdict.CANNOT_TELL
    # Nearer than any rounding of weights leaves them: what is said is wrong then, and the numbers are right.
    exact = with_weights(Finding(Check.LOGPROBS, Verdict.SAME, "0"), (None, "int8"), (None, None), Precision.FLOAT32)
    assert exact.verdict is Verdict.SAME
    assert "said to be int8" in exact.detail


def token(text: str, logprob: float | None, **alternatives: float) -> Token:
    return Token(None, text, logprob, alternatives)


def followed(*places: tuple[Token | None, Token | None], often: int = 20) -> list[Followed]:
    same = (token("a", -0.1), token("a", -0.1))
    return [Followed("p", tuple(Place(i, *each) for i, each in enumerate([*[same] * often, *places])))]


def test_within_the_tolerance_is_the_same() -> None:
    greedy, logprobs, figures = judge_scores(followed((token("b", -1.0), token("b", -1.09))), TOLERANCE)
    assert (greedy.verdict, logprobs.verdict) == (Verdict.SAME, Verdict.SAME)
    assert greedy.detail == "1 of 1 continuations whole, 21 of 21 tokens the same"
    assert figures.max_difference == pytest.approx(0.09)


@pytest.mark.parametrize(
    ("place", "limit"),
    [
        ((token("b", -1.0), token("b", -1.11)), "largest 0.11 (allowed 0.1)"),
        ((token("b", -1.0, c=-2.0), token("b", -1.0, c=-2.05)), "mean of other likely tokens 0.05 (allowed 0.02)"),
    ],
)
def test_each_limit_counts_alone(place: tuple[Token, Token], limit: str) -> None:
    _, logprobs, _ = judge_scores(followed(place), TOLERANCE)
    assert logprobs.verdict is Verdict.DIFFERS
    assert limit in logprobs.detail
    assert "largest at token 20 of 'p'" in logprobs.detail


def test_many_small_differences_count_by_their_mean() -> None:
    small = [(token("b", -1.0), token("b", -1.02))] * 40
    _, logprobs, _ = judge_scores(followed(*small, often=0), TOLERANCE)
    assert logprobs.verdict is Verdict.DIFFERS
    assert "mean 0.02 (allowed 0.01), largest 0.02 (allowed 0.1)" in logprobs.detail


def test_two_near_tokens_may_change_places() -> None:
    near = (token("b", -0.7, b=-0.7, c=-0.72), token("c", -0.71, c=-0.71, b=-0.73))
    greedy, logprobs, _ = judge_scores(followed(near), TOLERANCE)
    assert (greedy.verdict, logprobs.verdict) == (Verdict.SAME, Verdict.SAME)
    assert (
        "near ties, first at token 20 of 'p': 'b' there, 'c' here, which the reference puts 0.02 below" in greedy.detail
    )


@pytest.mark.parametrize(
    "other",
    [token("d", -0.7, d=-0.7, b=-0.75), token("c", -0.2, c=-0.2, b=-0.78), None],
    ids=["not among the likeliest", "clearly less likely", "the end"],
)
def test_any_other_parting_differs(other: Token | None) -> None:
    greedy, _, _ = judge_scores(followed((token("b", -0.7, b=-0.7, c=-1.3), other)), TOLERANCE)
    assert greedy.verdict is Verdict.DIFFERS
    assert "first at token 20 of 'p': 'b' there" in greedy.detail


def test_without_log_probabilities_there_is_greedy_alone() -> None:
    bare = [(token("a", None), token("a", None))] * 20
    greedy, logprobs, _ = judge_scores(followed(*bare, often=0), TOLERANCE)
    assert greedy.verdict is Verdict.SAME
    assert (logprobs.verdict, logprobs.detail) == (Verdict.CANNOT_TELL, "the engine tells no log-probabilities")


def test_few_tokens_say_nothing() -> None:
    _, logprobs, _ = judge_scores(followed(often=15), TOLERANCE)
    assert (logprobs.verdict, logprobs.detail) == (Verdict.CANNOT_TELL, "too few tokens to compare")


def test_nothing_followed_is_nothing_told() -> None:
    greedy, logprobs, _ = judge_scores([Followed("p", reason="refused with 400: no")], TOLERANCE)
    assert {greedy.verdict, logprobs.verdict} == {Verdict.CANNOT_TELL}
    assert greedy.detail == logprobs.detail == "refused with 400: no"


def test_an_engine_s_text_cannot_write_to_a_terminal() -> None:
    rude = (token("b", -0.1), token("\x1b[2J" + "x" * 100, -0.1))
    greedy, _, _ = judge_scores(followed(rude), TOLERANCE)
    assert greedy.detail.isprintable()
    assert len(greedy.detail) < 300


def test_settings_have_a_tolerance_per_precision() -> None:
    settings = EngineVerifySettings(float32=TOLERANCE)
    assert settings.tolerance(Precision.FLOAT32) is TOLERANCE
    assert settings.tolerance(Precision.BFLOAT16).largest_nats > TOLERANCE.largest_nats
