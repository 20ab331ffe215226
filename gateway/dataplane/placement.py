"""Folds the routing policies over the replicas that could serve a call, and keeps why; sends nothing."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.contracts.backend import Replica
from gateway.contracts.call import Call, Decision
from gateway.contracts.policy import RoutingPolicy
from gateway.errors import GatewayError, InvalidRequest, NoReplicaAvailable, PolicyFailed
from gateway.fleet.pool import Pool

# Short enough that a client soon tries again, long enough that a full pool is not asked all the time.
RETRY_AFTER_SECONDS = 1.0


def place(
    policies: Sequence[tuple[str, RoutingPolicy]], call: Call, pool: Pool, decision: Decision
) -> Sequence[Replica]:
    """Rank the replicas that can take the call, best first; `decision` is filled in as it is made.

    Raises:
        InvalidRequest: no replica of the model can do this operation at all, or do it as asked.
        NoReplicaAvailable: none can now.
        PolicyFailed: a policy crashed.
    """
    if call.operation not in pool.operations:
        known = ", ".join(sorted(operation.value for operation in pool.operations))
        raise InvalidRequest(f"No backend of {call.model.name} serves {call.operation.value}; they serve: {known}.")
    unable = pool.objections(call)
    ranked: Sequence[Replica] = pool.available(call.operation, unable)
    if not ranked and unable and len(unable) == len(pool.able(call.operation)):
        raise InvalidRequest(next(iter(unable.values())))
    if not ranked:
        reason = pool.why_unavailable(call.operation)
        raise NoReplicaAvailable(f"{reason[0].upper()}{reason[1:]}.", retry_after_seconds=RETRY_AFTER_SECONDS)
    decision.candidates = tuple(replica.name for replica in ranked)
    steps = []
    for name, policy in policies:
        try:
            ranked = policy.rank(call, ranked)
            steps.append((name, tuple(replica.name for replica in ranked)))
        except GatewayError:
            raise
        except Exception as error:  # a policy that returns nothing crashes on the second line
            raise PolicyFailed(f"routing policy {name} crashed on {call.call_id}") from error
        decision.steps = tuple(steps)
        if not ranked:
            raise NoReplicaAvailable(
                f"No ready replica of {call.model.name} fits this call: {name} left none.",
                retry_after_seconds=RETRY_AFTER_SECONDS,
            )
    return ranked
