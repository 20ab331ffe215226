"""Looks over a configuration and its products: which licence each model is under, what is in doubt, what is not met."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from msgspec import Struct

from policies.attribution.model_licence.desk import Desk
from policies.attribution.model_licence.states import Agreement, State
from policies.attribution.model_licence.views import served_under, standing_of

SOON_DAYS = 14


class Review(Struct, frozen=True, kw_only=True):
    """What was found.

    Attributes:
        models: name, checkpoint with what it was made of, licence, and the string to show.
        warnings: what somebody should look at.
        breaches: products that do not do what their licence asks for, as far as was attested.
    """

    models: Sequence[tuple[str, str, str, str]]
    warnings: Sequence[str]
    breaches: Sequence[str]


async def review(desk: Desk) -> Review:
    """Look everything over.

    Raises:
        DatabaseUnavailable: the products cannot be read.
    """
    snapshot = await desk.directory.snapshot()
    now = desk.directory.clock()
    today = dt.datetime.fromtimestamp(now, dt.UTC).date()
    records = [desk.records[name] for name in sorted(served_under(desk)) if name in desk.records]
    warnings = [f"licence {record.id}: {doubt}" for record in records for doubt in record.doubts(today)]
    breaches: list[str] = []
    for name, product in sorted(snapshot.products.items()):
        for record in records:
            standing = standing_of(desk, product, snapshot, record, now)
            what = f"product {name}, licence {record.id}"
            if standing.state is State.ABOVE_NOT_DISPLAYED and record.display is not None:
                breaches.append(f"{what}: over a threshold, and {record.display.string!r} is not shown")
            elif standing.state in (State.UNKNOWN, State.EXPIRED, State.NEAR):
                lacking = f" ({standing.lacking})" if standing.lacking else ""
                warnings.append(f"{what}: {standing.state.value}{lacking}")
            if standing.agreement is Agreement.NEEDED:
                breaches.append(f"{what}: an agreement is needed for giving others access to the model")
            elif standing.agreement is Agreement.UNKNOWN:
                warnings.append(f"{what}: whether an agreement is needed is not known")
        last = [each for each in snapshot.attestations.get(name, ()) if each.valid_until > now][-1:]
        if last and last[0].valid_until < now + SOON_DAYS * 86_400:
            warnings.append(f"product {name}: its attestation ends in less than {SOON_DAYS} days")
    return Review(models=_models(desk), warnings=warnings, breaches=breaches)


def _models(desk: Desk) -> list[tuple[str, str, str, str]]:
    found = []
    for model, descents in desk.served.items():
        for descent in descents:
            display = None if descent.record is None else descent.record.display
            found.append((model, " from ".join(descent.way), descent.licence, display.string if display else ""))
    return found
