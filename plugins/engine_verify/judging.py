"""Turns comparisons into verdicts: what counts as the same, and how a difference reads in one line; pure functions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum

from msgspec import Struct

from gateway import Checkpoint, FactName
from plugins.engine_verify.comparing import (
    CutComparison,
    CutDifference,
    Figures,
    Parting,
    measure,
    partings,
)
from plugins.engine_verify.evidence import Followed, Identity, Token
from plugins.engine_verify.prompts import CONVERSATIONS_AS_TEXT
from plugins.engine_verify.settings import Precision, Tolerance

# Fewer compared tokens say nothing of a mean.
LEAST_TOKENS = 16
MOST_REASONS = 3


class Verdict(StrEnum):
    """What can be said of one check."""

    SAME = "same"
    DIFFERS = "differs"
    CANNOT_TELL = "cannot tell"


class Check(StrEnum):
    """What is looked at, in this order."""

    MODEL = "model"
    TOKENIZER = "tokenizer"
    TEMPLATE = "template"
    TOOLS = "tools"
    GREEDY = "greedy"
    LOGPROBS = "logprobs"


class Finding(Struct, frozen=True):
    """A verdict and why, in one line."""

    check: Check
    verdict: Verdict
    detail: str


_FULL_PRECISION = re.compile(r"(torch\.)?(float32|fp32|f32)", re.IGNORECASE)
# What few bits are called: int8, RAWINT4, fp8, NVFP4, q4_K_M, W4A16. Not fp16, f32 and their like.
_FEW_BITS = re.compile(r"(int|float|fp|nf|q|w)_?([1-8])(?!\d)", re.IGNORECASE)
_FLOATS = ("float", "fp", "nf")
_SNAPSHOT = re.compile(r"models--([\w.-]+?)--([\w.-]+)/snapshots/([0-9a-f]{40})/?$")
_REPOSITORY = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
_REVISION = re.compile(r"[0-9a-f]{40}")


def precision_of(*told: str | None) -> Precision:
    """The precision to judge two replicas by, of what is told of each: float32 only where it is told of both."""
    exact = all(each is not None and _FULL_PRECISION.fullmatch(each) for each in told)
    return Precision.FLOAT32 if exact else Precision.BFLOAT16


def quantisation(*told: str | None) -> tuple[str, str] | None:
    """The kind of number and its bits, of the first word that names one of eight bits or fewer; None if none does."""
    for each in told:
        found = _FEW_BITS.search(each or "")
        if found is not None:
            kind = found[1].lower()
            return ("float" if kind in _FLOATS else kind), found[2]
    return None


def with_weights(
    finding: Finding, own: Sequence[str | None], other: Sequence[str | None], judged_as: Precision
) -> Finding:
    """Add to what was found of log-probabilities what is said of the weights, the replica's own and the reference's.

    Where a replica is said to have weights of fewer bits, numbers as near as bfloat16 allows prove nothing: what the weights
    lost may hide in how the engine rounds all else. Numbers as near as float32 prove that what is said is wrong.
    """
    quantised = quantisation(*own)
    differ = quantised is not None and quantised != quantisation(*other)
    here = next((each for each in own if differ and quantisation(each) is not None), own[-1])
    if not differ and (own[-1] is None or own[-1] == other[-1]):
        return finding
    there = other[-1] or next(filter(None, other), "nothing")
    words = f"its weights are said to be {here}, the reference's {there}"
    if differ and finding.verdict is Verdict.SAME and judged_as is Precision.BFLOAT16:
        return Finding(finding.check, Verdict.DIFFERS, f"{finding.detail}: no more than rounding, but {words}")
    return Finding(finding.check, finding.verdict, f"{finding.detail}; {words}")


def judge_model(identity: Identity, served_model: str, checkpoint: Checkpoint) -> Finding:
    """Judge what an engine says that it serves against what the configuration says."""
    if identity.served is not None and served_model not in identity.served:
        listed = ", ".join(repr(name) for name in identity.served[:5]) or "nothing"
        return Finding(Check.MODEL, Verdict.DIFFERS, f"it serves {listed}, not {served_model!r}")
    loaded, revision = _loaded(identity)
    for what, told, wanted in (
        ("checkpoint", loaded, checkpoint.id),
        ("revision", revision, checkpoint.revision if _REVISION.fullmatch(checkpoint.revision) else None),
    ):
        if told is not None and wanted is not None and told != wanted:
            detail = f"it says that its {what} is {told!r}; the configuration says {wanted!r}"
            return Finding(Check.MODEL, Verdict.DIFFERS, detail)
    if identity.served is None:
        return Finding(Check.MODEL, Verdict.CANNOT_TELL, "it lists no models")
    told_too = [f"checkpoint {loaded!r}"] * (loaded is not None) + [f"revision {revision}"] * (revision is not None)
    detail = f"it serves {served_model!r}" + ("" if told_too else "; it tells no checkpoint and no revision")
    return Finding(Check.MODEL, Verdict.SAME, ", ".join([detail, *told_too]))


def _loaded(identity: Identity) -> tuple[str | None, str | None]:
    """The repository id and the revision that an engine tells; a plain path tells neither."""
    loaded = identity.told.get(FactName.LOADED, "")
    revision = identity.told.get(FactName.REVISION)
    snapshot = _SNAPSHOT.search(loaded)
    if snapshot is not None:
        return f"{snapshot[1]}/{snapshot[2]}", revision or snapshot[3]
    return (loaded if _REPOSITORY.fullmatch(loaded) else None), revision


def judge_all_cuts(texts: CutComparison, chats: CutComparison, with_tools: CutComparison) -> tuple[Finding, ...]:
    """Judge tokenizer, chat template and declared tools; each shows itself only where what comes before it is the same.

    A tokenizer that differs elsewhere, and cuts what the conversations say alike, is not what makes them differ.
    """
    tokenizer, template = judge_cuts(Check.TOKENIZER, texts), judge_cuts(Check.TEMPLATE, chats)
    if CONVERSATIONS_AS_TEXT not in texts.alike:
        template = _unless_blamed(template, tokenizer)
    tools = _unless_blamed(judge_cuts(Check.TOOLS, with_tools), tokenizer, template)
    return tokenizer, template, tools


def _unless_blamed(finding: Finding, *before: Finding) -> Finding:
    blamed = next((each.check for each in before if each.verdict is Verdict.DIFFERS), None)
    if finding.verdict is not Verdict.DIFFERS or blamed is None:
        return finding
    return Finding(
        finding.check, Verdict.CANNOT_TELL, f"its {blamed.value} differs, and so would these: {finding.detail}"
    )


def judge_cuts(check: Check, cuts: CutComparison) -> Finding:
    """Judge the tokens that prompts were cut into."""
    compared = cuts.by_ids + cuts.by_count
    if cuts.differences:
        first = _cut_difference(cuts.differences[0])
        detail = f"{len(cuts.differences)} of {compared} prompts; first {first}"
        return Finding(check, Verdict.DIFFERS, detail)
    unknown = f"{len(cuts.unknown)} could not be compared ({cuts.unknown[0][1]})" if cuts.unknown else ""
    if not compared:
        return Finding(check, Verdict.CANNOT_TELL, unknown or "no prompt of this kind was asked")
    how = f"{cuts.by_ids} prompts by token ids" if cuts.by_ids else ""
    if cuts.by_count:
        how = ", ".join(filter(None, [how, f"{cuts.by_count} prompts by their number of tokens alone"]))
    return Finding(check, Verdict.SAME, "; ".join(filter(None, [how, unknown])))


def _cut_difference(found: CutDifference) -> str:
    if found.index is None:
        return f"{found.prompt!r}: {found.reference} tokens there, {found.candidate} here"
    there, here = ("the end" if each is None else f"id {each}" for each in (found.reference, found.candidate))
    return f"{found.prompt!r}, token {found.index}: {there} there, {here} here"


def judge_scores(followed: Sequence[Followed], tolerance: Tolerance) -> tuple[Finding, Finding, Figures]:
    """Judge a replica's greedy continuations and its log-probabilities."""
    figures = measure(followed)
    reason = "; ".join(list(dict.fromkeys(each.reason for each in followed if each.reason))[:MOST_REASONS])
    if not figures.tokens:
        why = reason or "nothing was asked"
        nothing = [Finding(check, Verdict.CANNOT_TELL, why) for check in (Check.GREEDY, Check.LOGPROBS)]
        return nothing[0], nothing[1], figures
    return _judge_greedy(figures, partings(followed), tolerance), _judge_logprobs(figures, tolerance, reason), figures


def _judge_greedy(figures: Figures, found: Sequence[Parting], tolerance: Tolerance) -> Finding:
    """Judge by partings: two tokens that are nearer than rounding moves each of them may change places."""
    near = 2 * tolerance.largest_nats
    clear = [each for each in found if each.margin is None or each.margin > near]
    summary = f"{figures.whole} of {figures.prompts} continuations whole, {figures.agreed} of {figures.tokens} tokens the same"
    if clear:
        return Finding(Check.GREEDY, Verdict.DIFFERS, f"{summary}; first {describe(clear[0])}")
    if found:
        return Finding(Check.GREEDY, Verdict.SAME, f"{summary}; the rest near ties, first {describe(found[0])}")
    return Finding(Check.GREEDY, Verdict.SAME, summary)


def _judge_logprobs(figures: Figures, tolerance: Tolerance, reason: str) -> Finding:
    mean, largest, others = figures.mean_difference, figures.max_difference, figures.mean_difference_of_others
    if mean is None or largest is None or figures.differences < LEAST_TOKENS:
        why = "the engine tells no log-probabilities" if not figures.differences else "too few tokens to compare"
        return Finding(Check.LOGPROBS, Verdict.CANNOT_TELL, f"{why}; {reason}" if reason else why)
    limits = {
        "mean": (mean, tolerance.mean_nats),
        "largest": (largest, tolerance.largest_nats),
        "mean of other likely tokens": (others, tolerance.others_mean_nats),
    }
    beyond = [name for name, (value, limit) in limits.items() if value is not None and value > limit]
    amounts = ", ".join(
        f"{name} {_number(value)} (allowed {limit:g})" for name, (value, limit) in limits.items() if value is not None
    )
    where = ""
    if beyond and figures.widest is not None:
        where = f"; largest at token {figures.widest[1]} of {figures.widest[0]!r}"
    detail = f"|Δ| over {figures.differences} tokens: {amounts}{where}"
    return Finding(Check.LOGPROBS, Verdict.DIFFERS if beyond else Verdict.SAME, detail)


def describe(parting: Parting) -> str:
    """One line on where two part."""
    place = parting.place
    text = (
        f"at token {place.index} of {parting.prompt!r}: {_name(place.reference)} there, {_name(place.candidate)} here"
    )
    if parting.margin is not None:
        return f"{text}, which the reference puts {_number(parting.margin)} below its own"
    return text


def _name(token: Token | None) -> str:
    """A token for people. `repr`, because an engine's text may hold what a terminal would obey."""
    if token is None:
        return "the end"
    if token.text is not None:
        return repr(token.text[:40])
    return f"id {token.id}" if token.id is not None else "a part of a character"


def _number(value: float) -> str:
    return f"{value:.2g}" if value < 1 else f"{value:.2f}"
