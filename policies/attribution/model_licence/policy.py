"""The attribution policy: looks up what was made ahead for the caller's product and the weights that serve; no I/O."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gateway import Attribution, Call, Checkpoint, Metric, Replica
from gateway.contracts.metrics import counter
from policies.attribution.model_licence.lineage import Descent, Lineage, LineageFault
from policies.attribution.model_licence.products import Snapshot
from policies.attribution.model_licence.settings import ModelLicenceSettings
from policies.attribution.model_licence.table import Compiler

ASKED = (b"x-moegate-attribution-in-answer", b"true")
"""The header by which a caller asks for `moegate.attribution` in its answer."""


class ModelLicence:
    """Knows under which licence each replica's weights are, and what each product gets with their answers.

    Args:
        descents: by replica.
        lineage: for checkpoints by themselves.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        settings: ModelLicenceSettings,
        descents: Mapping[str, Descent],
        lineage: Lineage,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._asked = settings.in_answers == "asked"
        self._always = settings.in_answers == "always"
        self._compiler = Compiler(settings, descents)
        self._lineage = lineage
        self._clock = clock
        self._table = self._compiler.table(Snapshot(), clock())

    def follow(self, snapshot: Snapshot) -> None:
        """Go by another snapshot from now on."""
        self._table = self._compiler.table(snapshot, self._clock(), self._table)

    def annotate(self, call: Call, replica: Replica) -> Attribution:
        """What the caller's product is told of this replica's weights.

        Raises:
            Rejected: it must not be served from them, or not without saying that it shows their string.
        """
        table, caller = self._table, call.principal
        snapshot, licence = table.snapshot, table.licences[replica.name]
        product = snapshot.of_keys.get(caller.key_id) or snapshot.product_of(caller.key_id, caller.tenant, caller.team)
        row = table.rows[licence]
        if product not in row:
            product = None
        emission = row[product]
        now = self._clock()
        if now >= emission.until:
            self._table = table = self._compiler.renewed(table, licence, product, now)
            emission = table.rows[licence][product]
        refusal = emission.refusal
        if refusal is not None and (emission.ack is None or emission.ack not in call.headers):
            emission.tally.refused += 1
            raise refusal.raised()
        emission.tally.annotated += 1
        if self._always or (self._asked and ASKED in call.headers):
            return emission.whole
        return emission.plain

    def describe(self, checkpoint: Checkpoint) -> Mapping[str, Any] | None:
        """What `/v1/models` says of a checkpoint's licence."""
        try:
            descent = self._lineage.resolve(checkpoint)
        except LineageFault:
            return None
        record = descent.record
        display = record.display if record is not None else None
        return {
            "id": descent.licence,
            "display": display.string if display is not None else None,
            "url": record.source if record is not None else None,
        }

    def metrics(self) -> Sequence[Metric]:
        """How many attempts were annotated how, and how many were refused."""
        tallies = [(labels, tally) for labels, tally in self._compiler.tallies.items()]
        names = ("product", "licence", "state", "mode")
        return [
            counter(
                "moegate_attribution_annotated",
                "Attempts at calls whose product was told what to show.",
                {labels: tally.annotated for labels, tally in tallies if tally.annotated},
                *names,
            ),
            counter(
                "moegate_attribution_refused",
                "Attempts at calls that were refused for what their product does not show or does not have.",
                {labels: tally.refused for labels, tally in tallies if tally.refused},
                *names,
            ),
        ]
