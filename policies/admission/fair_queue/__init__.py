"""Registers the policy `fair_queue`: calls wait for busy engines in queues of their tenants, served by fair shares of tokens."""

from __future__ import annotations

from collections.abc import Iterable

from gateway import AdmissionPolicy, BuildContext, Extension, hookimpl
from policies.admission.fair_queue.policy import FairQueue, Lanes
from policies.admission.fair_queue.settings import FairQueueSettings


def _build(settings: FairQueueSettings, context: BuildContext) -> AdmissionPolicy:
    return FairQueue(settings, context.fleet, context.tokens, context.shared(("fair_queue",), Lanes))


@hookimpl
def moegate_admission_policies() -> Iterable[Extension[AdmissionPolicy]]:
    """Register the policy."""
    return [Extension("fair_queue", FairQueueSettings, _build)]
