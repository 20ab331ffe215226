"""From a checkpoint to the licence record that it is under, by what it says itself or by what it was made of; no I/O."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

from msgspec import Struct

from gateway import Checkpoint
from policies.attribution.model_licence.records import NONE_RECORDED, LicenceRecord

_REMEDY = f"or write `licence: {NONE_RECORDED}` if there is none and you mean it"


class LineageFault(Exception):
    """A checkpoint whose licence cannot be told; the message is one line for whoever wrote the configuration."""


class Descent(Struct, frozen=True):
    """Where a checkpoint's licence comes from.

    Attributes:
        record: None if `none-recorded` is written out.
        way: ids of checkpoints, from this one to the one that the licence is known of.
    """

    record: LicenceRecord | None
    way: tuple[str, ...]

    @property
    def licence(self) -> str:
        """The record's id, or `none-recorded`."""
        return NONE_RECORDED if self.record is None else self.record.id


class Lineage:
    """Resolves checkpoints.

    Args:
        records: by id.
        configured: every checkpoint of the configuration; each may be what others are made of.
    """

    def __init__(self, records: Mapping[str, LicenceRecord], configured: Iterable[Checkpoint]) -> None:
        self._records = records
        self._configured: dict[str, list[Checkpoint]] = {}
        for checkpoint in configured:
            known = self._configured.setdefault(checkpoint.id, [])
            if checkpoint not in known:
                known.append(checkpoint)
        self._covering: dict[str, list[LicenceRecord]] = {}
        for record in records.values():
            for model in record.models:
                self._covering.setdefault(model.id, []).append(record)

    def resolve(self, checkpoint: Checkpoint) -> Descent:
        """Find the record.

        Raises:
            LineageFault: none can be found, or more than one, or what it says and what it was made of disagree.
        """
        return self._resolve(checkpoint, ())

    def _resolve(self, checkpoint: Checkpoint, way: tuple[str, ...]) -> Descent:
        if checkpoint.id in way:
            raise LineageFault(f"cycle in lineage: {' from '.join((*way, checkpoint.id))}")
        way = (*way, checkpoint.id)
        if checkpoint.licence is not None:
            return self._stated(checkpoint, checkpoint.licence, way)
        if checkpoint.id in self._covering:
            return Descent(self._only(checkpoint.id), way)
        if checkpoint.derived_from is None:
            raise LineageFault(
                f"checkpoint {checkpoint.id}: no record covers it, and it has neither `licence` nor `derived_from`; "
                f"name one, {_REMEDY}"
            )
        return self._parent(checkpoint.derived_from, way)

    def _stated(self, checkpoint: Checkpoint, licence: str, way: tuple[str, ...]) -> Descent:
        """What it says itself, unless what it was made of is under a licence that derived works inherit."""
        record = None if licence == NONE_RECORDED else self._records.get(licence)
        if record is None and licence != NONE_RECORDED:
            raise LineageFault(f"checkpoint {checkpoint.id}: no licence record {licence!r}; {self._near(licence)}")
        found = Descent(record, way)
        covered = record is not None and any(model.id == checkpoint.id for model in record.models)
        if checkpoint.derived_from is None or covered:
            return found
        if checkpoint.derived_from not in self._configured and checkpoint.derived_from not in self._covering:
            return found
        inherited = self._parent(checkpoint.derived_from, way)
        if inherited.record is None or inherited.record.derivatives == "free" or inherited.licence == licence:
            return found
        raise LineageFault(
            f"checkpoint {checkpoint.id}: it says licence {licence!r}, but it is derived from {inherited.way[-1]}, "
            f"whose licence {inherited.licence!r} derived works inherit; leave `licence` out"
        )

    def _parent(self, name: str, way: tuple[str, ...]) -> Descent:
        found = [self._resolve(parent, way) for parent in self._configured.get(name, ())]
        if not found:
            if name not in self._covering:
                raise LineageFault(
                    f"checkpoint {way[-1]}: it is derived from {name}, of which no licence is known; name a "
                    f"`licence`, {_REMEDY}"
                )
            return Descent(self._only(name), (*way, name))
        if len({each.licence for each in found}) > 1:
            raise LineageFault(
                f"checkpoint {way[-1]}: it is derived from {name}, which the configuration has under several licences: "
                f"{', '.join(sorted({each.licence for each in found}))}"
            )
        return found[0]

    def _only(self, name: str) -> LicenceRecord:
        covering = self._covering[name]
        if len(covering) > 1:
            raise LineageFault(
                f"checkpoint {name}: several records cover it ({', '.join(record.id for record in covering)}); "
                "name one of them as its `licence`"
            )
        return covering[0]

    def _near(self, licence: str) -> str:
        near = difflib.get_close_matches(licence, self._records, n=3)
        if near:
            return "did you mean " + " or ".join(map(repr, near)) + "?"
        return f"known: {', '.join(sorted(self._records))}, {NONE_RECORDED}"
