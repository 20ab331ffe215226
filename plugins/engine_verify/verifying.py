"""Verifies a model: has every replica asked, has the answers compared and judged, and puts the report together."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import httpx
import msgspec
from msgspec import Struct

from gateway import FactName, ReplicaAccess
from plugins.engine_verify.asking import Asker, Refused, Unreachable, introspection_of
from plugins.engine_verify.comparing import agrees, compare_cuts, pair
from plugins.engine_verify.evidence import Continuation, Evidence, Followed, Identity, Place, PromptTokens
from plugins.engine_verify.judging import (
    Finding,
    judge_all_cuts,
    judge_model,
    judge_scores,
    precision_of,
    with_weights,
)
from plugins.engine_verify.prompts import Prompt
from plugins.engine_verify.report import ModelReport, ReplicaReport
from plugins.engine_verify.settings import EngineVerifySettings, Precision

# A replica that parts more often within one prompt serves something else, and more of it says nothing new.
MOST_PARTINGS = 4


class Task(Struct, frozen=True):
    """What to verify by.

    Attributes:
        max_tokens: by how many tokens to continue each prompt.
        precision: which tolerance to judge by; by what replicas tell if None.
    """

    prompts: tuple[Prompt, ...]
    max_tokens: int = 32
    settings: EngineVerifySettings = EngineVerifySettings()
    precision: Precision | None = None


class _Written(Struct, frozen=True):
    """What the reference wrote after one prompt; `ids` are the prompt's, where they are known and can be sent."""

    prompt: Prompt
    ids: tuple[int, ...] | None
    continuation: Continuation


async def verify_model(
    model: str, reference: ReplicaAccess, candidates: Sequence[ReplicaAccess], task: Task, client: httpx.AsyncClient
) -> ModelReport:
    """Compare every candidate with the reference; a replica that cannot be asked is reported and stops no other.

    Candidates are asked at the same time, each one question after the other, and all after the reference.
    """
    asker = Asker(client, reference)
    try:
        evidence = await _gather(asker, await asker.identity(), task)
        written, reasons = await _write(asker, evidence, task)
    except Unreachable as error:
        replicas = (_failed(reference, str(error), is_reference=True), *map(_not_compared, candidates))
        return ModelReport(model, reference.replica.name, replicas)
    # The reference is judged by what it says of itself alone.
    finding = judge_model(evidence.identity, reference.replica.served_model, reference.replica.checkpoint)
    first = _report(reference, evidence, is_reference=True)
    first = msgspec.structs.replace(first, findings=(finding,))
    is_engine = introspection_of(reference).is_reference
    standard = _Standard(reference, evidence, written, reasons)
    others = await asyncio.gather(*(standard.compare(Asker(client, candidate), task) for candidate in candidates))
    return ModelReport(model, reference.replica.name, (first, *others), by_reference_engine=is_engine)


class _Standard:
    """The reference, and what it said."""

    def __init__(
        self, target: ReplicaAccess, evidence: Evidence, written: Sequence[_Written], reasons: Mapping[str, str]
    ) -> None:
        self._target = target
        self._evidence = evidence
        self._written = written
        self._reasons = reasons

    async def compare(self, asker: Asker, task: Task) -> ReplicaReport:
        """Ask one candidate the same, and judge."""
        target = asker.target
        model: tuple[Finding, ...] = ()
        try:
            identity = await asker.identity()
            model = (judge_model(identity, target.replica.served_model, target.replica.checkpoint),)
            evidence = await _gather(asker, identity, task)
            followed = await self._follow_all(asker, evidence)
        except Unreachable as error:
            return _failed(target, str(error), findings=model)
        precision = task.precision or precision_of(
            _precision(self._target, self._evidence), _precision(target, evidence)
        )
        greedy, logprobs, figures = judge_scores(followed, task.settings.tolerance(precision))
        weights = _precisions(target, evidence), _precisions(self._target, self._evidence)
        logprobs = with_weights(logprobs, *weights, precision)
        cuts = judge_all_cuts(
            compare_cuts(self._evidence.texts, evidence.texts),
            compare_cuts(self._evidence.chats, evidence.chats),
            compare_cuts(self._evidence.with_tools, evidence.with_tools),
        )
        findings = (*model, *cuts, greedy, logprobs)
        report = _report(target, evidence)
        return msgspec.structs.replace(report, findings=findings, figures=figures, judged_as=precision)

    async def _follow_all(self, asker: Asker, evidence: Evidence) -> list[Followed]:
        followed = [Followed(name, reason=f"the reference: {reason}") for name, reason in self._reasons.items()]
        takes_ids = asker.takes_ids
        for model in self._written:
            if model.ids is not None and takes_ids:
                try:
                    places = await _follow(asker, model, model.ids)
                except Refused:
                    takes_ids = False  # it is asked by the prompts themselves from here on
                else:
                    followed.append(Followed(model.prompt.name, places, by_ids=True))
                    continue
            followed.append(await self._follow_prompt(asker, model, evidence))
        return followed

    async def _follow_prompt(self, asker: Asker, model: _Written, evidence: Evidence) -> Followed:
        """Without ids: comparable only where both made the same tokens of the prompt."""
        name = model.prompt.name
        if compare_cuts({name: self._evidence.cuts[name]}, {name: evidence.cuts[name]}).differences:
            return Followed(name, reason="its prompts are other tokens already")
        try:
            found_continuation = await asker.go_on(model.prompt, len(model.continuation.tokens))
        except Refused as refused:
            return Followed(name, reason=str(refused))
        return Followed(name, pair(model.continuation, found_continuation))


async def _follow(asker: Asker, model: _Written, ids: tuple[int, ...]) -> tuple[Place, ...]:
    """Lead a replica along the reference's continuation: where it parts, it is put back and asked to go on."""
    expected = model.continuation
    written = [token.id for token in expected.tokens]
    places: list[Place] = []
    for _ in range(MOST_PARTINGS):
        start = len(places)
        before = [token_id for token_id in written[:start] if token_id is not None]
        if start >= len(written) or len(before) < start:
            break
        found = await asker.go_on((*ids, *before), len(written) - start)
        more = pair(expected, found, start)
        places += more
        if not more or agrees(more[-1]) or more[-1].reference is None:
            break
    return tuple(places)


async def _gather(asker: Asker, identity: Identity, task: Task) -> Evidence:
    """Ask how the engine cuts each prompt.

    Raises:
        Unreachable: there is no connection, or not one prompt was answered.
    """
    texts: dict[str, PromptTokens] = {}
    chats: dict[str, PromptTokens] = {}
    with_tools: dict[str, PromptTokens] = {}
    for prompt in task.prompts:
        kind = texts if prompt.messages is None else with_tools if prompt.tools else chats
        kind[prompt.name] = await asker.prompt_tokens(prompt)
    found = [*chats.values(), *with_tools.values(), *texts.values()]
    if all(each.refused for each in found):
        raise Unreachable(f"not one of {len(found)} prompts was answered: {found[0].reason}")
    return Evidence(identity, texts, chats, with_tools)


async def _write(asker: Asker, evidence: Evidence, task: Task) -> tuple[list[_Written], dict[str, str]]:
    """Have the reference continue each prompt; per prompt that it cannot, the reason."""
    written: list[_Written] = []
    reasons: dict[str, str] = {}
    takes_ids = asker.takes_ids
    cuts = evidence.cuts
    for prompt in task.prompts:
        ids = cuts[prompt.name].ids if takes_ids else None
        try:
            written.append(_Written(prompt, ids, await asker.go_on(prompt if ids is None else ids, task.max_tokens)))
        except Refused as refused:
            reasons[prompt.name] = str(refused)
    return written, reasons


def _precisions(target: ReplicaAccess, evidence: Evidence) -> tuple[str | None, str | None]:
    """What the engine tells that it computes in, and what the configuration says of the weights."""
    return evidence.identity.told.get(FactName.PRECISION), target.replica.checkpoint.weight_format


def _precision(target: ReplicaAccess, evidence: Evidence) -> str | None:
    told, declared = _precisions(target, evidence)
    return told or declared


def _report(target: ReplicaAccess, evidence: Evidence, *, is_reference: bool = False) -> ReplicaReport:
    return ReplicaReport(
        replica=target.replica.name,
        backend=target.replica.backend,
        told=evidence.identity.told,
        weight_format=target.replica.checkpoint.weight_format,
        is_reference=is_reference,
    )


def _failed(
    target: ReplicaAccess, reason: str, *, findings: tuple[Finding, ...] = (), is_reference: bool = False
) -> ReplicaReport:
    return ReplicaReport(
        replica=target.replica.name,
        backend=target.replica.backend,
        is_reference=is_reference,
        findings=findings,
        unreachable=reason,
    )


def _not_compared(target: ReplicaAccess) -> ReplicaReport:
    return _failed(target, "not asked, because the reference cannot be asked")
