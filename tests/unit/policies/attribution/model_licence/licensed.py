"""What the tests of the call's way share: replicas under several licences, products with a size, and a policy that knows both."""

from __future__ import annotations

import datetime as dt
from typing import Any

from gateway import Call, Checkpoint, Principal, Replica
from policies.attribution.model_licence.lineage import Lineage
from policies.attribution.model_licence.policy import ModelLicence
from policies.attribution.model_licence.products import Attestation, Evidence, EvidenceKind, Product, Snapshot
from policies.attribution.model_licence.record_files import load
from policies.attribution.model_licence.settings import ModelLicenceSettings
from tests.unit.builders import make_call, make_replica

RECORDS = load()
NOW = 1_000_000
DAY = 86_400
CHECKPOINTS = {
    "k2": Checkpoint(id="moonshotai/Kimi-K2-Instruct", context_length=1_000),
    "k2-5": Checkpoint(id="us/perturbed", derived_from="us/tuned", context_length=1_000),
    "tuned": Checkpoint(id="us/tuned", derived_from="moonshotai/Kimi-K2.5", context_length=1_000),
    "k3": Checkpoint(id="moonshotai/Kimi-K3", context_length=1_000),
    "free": Checkpoint(id="us/own", licence="mit", context_length=1_000),
    "unrecorded": Checkpoint(id="us/other", licence="none-recorded", context_length=1_000),
}
LICENCES = {
    "k2": "kimi-k2",
    "k2-5": "kimi-k2.5",
    "tuned": "kimi-k2.5",
    "k3": "kimi-k3",
    "free": "mit",
    "unrecorded": "none-recorded",
}
REPLICAS = {name: make_replica(name, checkpoint=checkpoint) for name, checkpoint in CHECKPOINTS.items()}


class Clock:
    """Seconds since 1970, which stand still until a test moves them on."""

    def __init__(self) -> None:
        self.now: float = NOW

    def __call__(self) -> float:
        return self.now


def replica(name: str) -> Replica:
    """One of the replicas, by the weights that it serves."""
    return REPLICAS[name]


def policy(clock: Clock | None = None, **settings: Any) -> ModelLicence:
    """A policy for all of the replicas, which knows of no product yet."""
    lineage = Lineage(RECORDS, CHECKPOINTS.values())
    descents = {name: lineage.resolve(checkpoint) for name, checkpoint in CHECKPOINTS.items()}
    return ModelLicence(ModelLicenceSettings(**settings), descents, lineage, clock or Clock())


def call(*headers: tuple[bytes, bytes], key: str = "of-shop") -> Call:
    """A call with a key."""
    return make_call(headers=headers, principal=Principal(key, key, "acme", team="web"))


def attested(users: int | None = 5, **changes: Any) -> Attestation:
    """What the shop's owner says of it."""
    fields: dict[str, Any] = {
        "product": "shop",
        "monthly_active_users": users,
        "monthly_revenue": 5,
        "as_of": dt.date(2026, 11, 1),
        "attested_by": "Ann",
        "attested_at": NOW - DAY,
        "valid_until": NOW + DAY,
    }
    return Attestation(**{**fields, **changes})


def shown(licence: str = "kimi-k2", **changes: Any) -> Evidence:
    """That the shop shows what it must."""
    fields: dict[str, Any] = {
        "product": "shop",
        "licence": licence,
        "kind": EvidenceKind.NOTE,
        "value": "in the footer",
        "given_by": "Ann",
        "given_at": NOW - 5,
    }
    return Evidence(**{**fields, **changes})


def snapshot(*said: Attestation, evidence: tuple[Evidence, ...] = (), **terms: Any) -> Snapshot:
    """A shop, which the key `of-shop` belongs to."""
    shop = Product(**{"name": "shop", "owner": "Ann", "added_at": NOW - 10 * DAY, **terms})
    return Snapshot(
        products={"shop": shop},
        of_keys={"of-shop": "shop"},
        attestations={"shop": said},
        evidence={"shop": evidence},
    )
