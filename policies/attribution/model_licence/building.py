"""Puts the policy and what belongs to it together, or says of which checkpoints no licence can be told."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping

import structlog

from gateway import BuildContext, Checkpoint, NoSettings
from gateway.errors import ConfigError
from policies.attribution.model_licence.desk import build_desk
from policies.attribution.model_licence.lineage import Descent, Lineage, LineageFault
from policies.attribution.model_licence.page import Listed
from policies.attribution.model_licence.policy import ModelLicence
from policies.attribution.model_licence.record_files import load
from policies.attribution.model_licence.refreshing import Known
from policies.attribution.model_licence.service import Built, LicenceService
from policies.attribution.model_licence.settings import ModelLicenceSettings
from policies.attribution.model_licence.standing import Standing

log = structlog.get_logger("moegate.model_licence")

NAME = "model_licence"


class Node:
    """What a policy needs to find the service of its own runtime, which is built before it."""

    def __init__(self) -> None:
        self.building: LicenceService | None = None


def _node(context: BuildContext) -> Node:
    return context.shared((NAME,), Node)


def build_service(_: NoSettings, context: BuildContext) -> LicenceService:
    """The service and the routes."""
    service = LicenceService(context.models)
    _node(context).building = service
    return service


def build_policy(settings: ModelLicenceSettings, context: BuildContext) -> ModelLicence:
    """The policy; what is known of products outlives a reload.

    Raises:
        ConfigError: a record is bad, or a checkpoint's licence cannot be told.
    """
    service = _node(context).building
    if service is not None and service.built is not None:
        raise ConfigError("it stands twice")
    records = load(settings.records)
    replicas = context.fleet.replicas()
    lineage = Lineage(
        records, [*(model.checkpoint for model in context.models), *(each.checkpoint for each in replicas)]
    )
    descents = resolved(lineage, {each.name: each.checkpoint for each in replicas})
    warn(descents.values())
    policy = ModelLicence(settings, descents, lineage)
    engine = context.database.engine
    # Another database has other products, so its URL is part of what is shared.
    url = engine.url.render_as_string(hide_password=False)
    standing = context.shared((NAME, "standing", url), Standing)
    standing.tell(policy)
    if service is not None:
        of_models: dict[str, list[Descent]] = {}
        for each in replicas:
            found = of_models.setdefault(each.model, [])
            if descents[each.name] not in found:
                found.append(descents[each.name])
        desk = build_desk(
            engine,
            records=records,
            served=of_models,
            reading=settings.reading,
            pages=settings.page_checks,
            known=context.shared((NAME, "known", url), Known),
            standing=standing,
        )
        listed = [Listed(model.name, model.aliases, of_models.get(model.name, [])) for model in context.models]
        service.built = Built(settings, policy, desk, listed)
    return policy


def resolved(lineage: Lineage, checkpoints: Mapping[str, Checkpoint]) -> dict[str, Descent]:
    """Where each replica's weights come from.

    Raises:
        ConfigError: with each fault once, however many replicas have it.
    """
    found: dict[str, Descent] = {}
    faults: dict[str, None] = {}
    for replica, checkpoint in checkpoints.items():
        try:
            found[replica] = lineage.resolve(checkpoint)
        except LineageFault as fault:
            faults[str(fault)] = None
    if faults:
        raise ConfigError(*faults)
    return found


def warn(descents: Iterable[Descent]) -> None:
    """Log once of each licence in use what should be looked at again."""
    records = {descent.record.id: descent.record for descent in descents if descent.record is not None}
    for record in records.values():
        for reason in record.doubts(dt.datetime.now(dt.UTC).date()):
            log.warning("a licence record is in doubt", licence=record.id, reason=reason)
