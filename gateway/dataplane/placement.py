"""Folds the routing policies over the replicas that could serve a call, and keeps why; sends nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gateway.contracts.assigning import Assigned
from gateway.contracts.backend import Replica, ReplicaState
from gateway.contracts.call import Call, Decision, Step
from gateway.contracts.policy import Preparing, Ranking, RoutingPolicy
from gateway.errors import GatewayError, InvalidRequest, NoReplicaAvailable, PolicyFailed
from gateway.fleet.pool import Pool

# Short enough that a client soon tries again, long enough that a full pool is not asked all the time.
RETRY_AFTER_SECONDS = 1.0

FIRST_STEP = "capability_fit"
"""What the core itself looks at before any policy; it asks backends, which policies do not know."""

ARM_STEP = "experiment"
"""What keeps a call of an experiment inside its arm."""


def preparing(policies: Sequence[tuple[str, RoutingPolicy]]) -> Sequence[tuple[str, Preparing]]:
    """Those that want to look into a call before it is placed."""
    return [(name, policy) for name, policy in policies if isinstance(policy, Preparing)]


async def prepare(policies: Sequence[tuple[str, Preparing]], call: Call) -> None:
    """Let them.

    Raises:
        PolicyFailed: one crashed.
    """
    for name, policy in policies:
        try:
            await policy.prepare(call)
        except GatewayError:
            raise
        except Exception as error:
            raise PolicyFailed(f"routing policy {name} crashed on {call.call_id}") from error


def place(
    policies: Sequence[tuple[str, RoutingPolicy]],
    call: Call,
    pool: Pool,
    decision: Decision,
    arm: Assigned | None = None,
) -> Sequence[Replica]:
    """Rank the replicas that can take the call, best first; `decision` is filled in as it is made.

    Of an experiment's call only those of its arm, unless none of them can take it and it may fall back.

    Raises:
        InvalidRequest: no replica of the model can do this operation at all, or do it as asked.
        NoReplicaAvailable: none can now.
        PolicyFailed: a policy crashed.
    """
    ranked = _candidates(call, pool, decision)
    names = decision.steps[0].left if decision.steps else decision.candidates
    if arm is not None:
        ranked, names = _within(arm, ranked, names, decision)
    for name, policy in policies:
        before = ranked
        try:
            found = policy.rank(call, before)
            if isinstance(found, Ranking):
                ranked = found.replicas
                names, step = _explained(name, found, before, names)
            else:
                ranked = found
                names, step = _step(name, ranked, before, names)
        except GatewayError:
            decision.steps += (Step(policy=name, left=(), dropped=tuple([(each, "refused") for each in names])),)
            raise
        except Exception as error:  # a policy that returns nothing crashes on the second line
            raise PolicyFailed(f"routing policy {name} crashed on {call.call_id}") from error
        decision.steps += (step,)
        if not ranked:
            raise NoReplicaAvailable(
                f"No ready replica of {call.model.name} fits this call: {name} left none.",
                retry_after_seconds=RETRY_AFTER_SECONDS,
            )
    return ranked


def _candidates(call: Call, pool: Pool, decision: Decision) -> Sequence[Replica]:
    """Those that can take the call, before any policy; at least one."""
    decision.candidates = tuple([member.replica.name for member in pool.members])
    if call.operation not in pool.operations:
        _note_first_step(pool, call, (), {}, decision)
        known = ", ".join(sorted(operation.value for operation in pool.operations))
        raise InvalidRequest(f"No backend of {call.model.name} serves {call.operation.value}; they serve: {known}.")
    unable = pool.objections(call)
    ranked: Sequence[Replica] = pool.available(call.operation, unable)
    if len(ranked) < len(pool.members):
        _note_first_step(pool, call, ranked, unable, decision)
    if not ranked and unable and len(unable) == len(pool.able(call.operation)):
        raise InvalidRequest(next(iter(unable.values())))
    if not ranked:
        reason = pool.why_unavailable(call.operation)
        seconds = pool.held_seconds() or RETRY_AFTER_SECONDS
        raise NoReplicaAvailable(f"{reason[0].upper()}{reason[1:]}.", retry_after_seconds=seconds)
    return ranked


def _within(
    arm: Assigned, ranked: Sequence[Replica], names: tuple[str, ...], decision: Decision
) -> tuple[Sequence[Replica], tuple[str, ...]]:
    """What is left of the candidates in a call's arm."""
    inside = [replica for replica in ranked if replica.name in arm.replicas]
    if not inside and not arm.fall_back:
        raise NoReplicaAvailable(
            f"No replica of {arm.label} can take this call now.", retry_after_seconds=RETRY_AFTER_SECONDS
        )
    if not inside:
        decision.steps += (
            Step(policy=ARM_STEP, left=names, note=f"{arm.label}: none of its replicas can, so all may"),
        )
        return ranked, names
    left = tuple([replica.name for replica in inside])
    dropped = tuple([(name, "another arm") for name in names if name not in arm.replicas])
    decision.steps += (Step(policy=ARM_STEP, left=left, dropped=dropped, note=arm.label),)
    return inside, left


def _step(
    policy: str, left: Sequence[Replica], before: Sequence[Replica], names: tuple[str, ...], reason: str = ""
) -> tuple[tuple[str, ...], Step]:
    """The names that are left, and the step; a list that was passed on as it came has the names that it had."""
    if left is before:
        return names, Step(policy=policy, left=names)
    now = tuple([replica.name for replica in left])
    if len(now) == len(names):
        return now, Step(policy=policy, left=now)
    kept = set(now)
    dropped = tuple([(name, reason or "dropped") for name in names if name not in kept])
    return now, Step(policy=policy, left=now, dropped=dropped)


def _explained(
    policy: str, ranking: Ranking, before: Sequence[Replica], names: tuple[str, ...]
) -> tuple[tuple[str, ...], Step]:
    now, step = _step(policy, ranking.replicas, before, names, ranking.reason)
    if not (ranking.scores or ranking.note):
        return now, step
    explained = Step(
        policy=policy,
        left=now,
        dropped=step.dropped,
        scores=tuple(ranking.scores),
        unit=ranking.unit,
        note=ranking.note,
    )
    return now, explained


def _note_first_step(
    pool: Pool, call: Call, left: Sequence[Replica], unable: Mapping[str, str], decision: Decision
) -> None:
    """Say why replicas are not even candidates for the policies."""
    kept = {replica.name for replica in left}
    resting = pool.resting()
    dropped = []
    for member in pool.members:
        replica = member.replica
        if replica.name in kept:
            continue
        if call.operation not in replica.operations:
            reason = f"cannot do {call.operation.value}"
        elif replica.name in unable:
            reason = "cannot do it as asked"
        elif replica.state is not ReplicaState.READY:
            reason = replica.state.value
        else:
            reason = "overloaded" if replica.name in resting else "full"
        dropped.append((replica.name, reason))
    names = tuple([replica.name for replica in left])
    decision.steps = (Step(policy=FIRST_STEP, left=names, dropped=tuple(dropped)),)
