"""What the commands and the admin API do: the one way to change products and what is said of them; knows neither of the two."""

from __future__ import annotations

import difflib
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

import msgspec
from msgspec import UNSET
from sqlalchemy.ext.asyncio import AsyncEngine

from policies.attribution.model_licence.checking import attestation_of, evidence_of, member_of
from policies.attribution.model_licence.failures import Conflict, HistoryBroken, NotFound, database_failures
from policies.attribution.model_licence.history import Appending, Head, Row, appending, read_head
from policies.attribution.model_licence.products import Attestation, Evidence, EvidenceKind, Product, Snapshot
from policies.attribution.model_licence.refreshing import Known, Refreshing
from policies.attribution.model_licence.telling import (
    ASSIGN,
    ATTEST,
    EVIDENCE,
    PRODUCT_ADD,
    PRODUCT_CHANGE,
    UNASSIGN,
    Member,
    Membership,
)
from policies.attribution.model_licence.wanted import (
    Assignment,
    NewAttestation,
    NewEvidence,
    NewProduct,
    ProductPatch,
)

T = TypeVar("T")

_encode = msgspec.json.Encoder(order="deterministic").encode


class Directory:
    """Reads, and changes. Every change is a row of the history; what changes nothing writes none.

    Every method may raise DatabaseUnavailable, those that change something HistoryBroken.

    Args:
        refreshing: how this node reads; changes are read back by it, so that they hold here when a method returns.
        licences: the strings to show by licence id, empty for none; what is said of other licences is refused.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        refreshing: Refreshing | None = None,
        licences: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.engine = engine
        self.clock = clock
        self._refreshing = refreshing if refreshing is not None else Refreshing(engine, Known())
        self._licences = licences

    async def snapshot(self) -> Snapshot:
        """All that holds now."""
        return await self._refreshing.read()

    async def head(self) -> Head:
        """Where the history ends.

        Raises:
            HistoryBroken: that is not known any more.
        """
        with database_failures():
            async with self.engine.connect() as connection:
                found = await read_head(connection)
        if found is None:
            raise HistoryBroken("The table model_licence_head has lost its row; restore a backup.")
        return found

    async def product(self, name: str) -> Product:
        """One product.

        Raises:
            NotFound: there is none of that name.
        """
        snapshot = await self.snapshot()
        found = snapshot.products.get(name)
        if found is None:
            near = difflib.get_close_matches(name, snapshot.products, 1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise NotFound(f"There is no product {name[:128]!r}.{hint}", param="product")
        return found

    def string_of(self, licence: str) -> str:
        """What a licence wants to be shown; empty for nothing.

        Raises:
            NotFound: there is no such licence.
        """
        self._check_licences(licence)
        return (self._licences or {}).get(licence, "")

    async def add(self, actor: str, wanted: NewProduct) -> Product:
        """Add a product; the same again changes nothing.

        Raises:
            Conflict: there is one of that name, and it is another.
        """
        self._check_licences(*wanted.agreements)
        subject = f"product:{wanted.name}"
        async with appending(self.engine, actor, self.clock()) as edit:
            row = await edit.latest(subject)
            if row is None:
                product = wanted.product(wanted.name, edit.now)
                await edit.append(PRODUCT_ADD, subject, product.name, _json(product))
            else:
                product = _read(row, Product)
                if product != wanted.product(wanted.name, product.added_at):
                    raise Conflict(f"There is a product {wanted.name!r} already, and it is another.", param="name")
        return await self._told(product)

    async def change(self, actor: str, name: str, patch: ProductPatch) -> Product:
        """Change what is said of a product.

        Raises:
            NotFound: there is none of that name.
        """
        fields = {field: value for field, value in msgspec.structs.asdict(patch).items() if value is not UNSET}
        self._check_licences(*(fields.get("agreements") or ()))
        async with appending(self.engine, actor, self.clock()) as edit:
            before = await _product(edit, name)
            product = msgspec.structs.replace(before, **fields)
            if product != before:
                await edit.append(PRODUCT_CHANGE, f"product:{name}", name, _json(product))
        return await self._told(product)

    async def assign(self, actor: str, name: str, wanted: Assignment) -> tuple[Member, ...]:
        """Have keys, teams and tenants belong to a product, or no more; all of them or none. Those that changed.

        Whether there is such a key or team is not known here.

        Raises:
            NotFound: there is no such product.
            Conflict: one belongs to another product, and `move` was not said.
        """
        members = dict.fromkeys(member_of(each, index) for index, each in enumerate(wanted.members))
        changed: list[Member] = []
        async with appending(self.engine, actor, self.clock()) as edit:
            await _product(edit, name)
            for member in members:
                row = await edit.latest(member.subject)
                present = None if row is None else _read(row, Membership).product
                if await _join(edit, member, name, present, wanted):
                    changed.append(member)
        return await self._told(tuple(changed))

    async def attest(self, actor: str, name: str, wanted: NewAttestation) -> Attestation:
        """Write down what was said of a product's size; the same again changes nothing.

        Raises:
            NotFound: there is no such product, or no such licence.
            InvalidRequest: it does not fit together, or would not hold any more.
        """
        if wanted.licence is not None:
            self._check_licences(wanted.licence)
        async with appending(self.engine, actor, self.clock()) as edit:
            await _product(edit, name)
            attestation = attestation_of(wanted, name, actor, edit.now)
            subject = f"attestation:{name}/{wanted.licence or '*'}"
            row = await edit.latest(subject)
            before = None if row is None else _read(row, Attestation)
            if before is not None and msgspec.structs.replace(before, attested_at=edit.now) == attestation:
                attestation = before
            else:
                await edit.append(ATTEST, subject, name, _json(attestation))
        return await self._told(attestation)

    async def show(self, actor: str, name: str, wanted: NewEvidence) -> Evidence:
        """Write down that a product shows a licence's string, or that it does not; the same again changes nothing.

        What a machine has looked at is written down each time.

        Raises:
            NotFound: there is no such product, or no such licence.
            InvalidRequest: it does not fit together.
        """
        string = self.string_of(wanted.licence)
        async with appending(self.engine, actor, self.clock()) as edit:
            await _product(edit, name)
            evidence = evidence_of(wanted, name, actor, edit.now, string)
            subject = f"evidence:{name}/{wanted.licence}"
            row = await edit.latest(subject)
            before = None if row is None else _read(row, Evidence)
            same = before is not None and msgspec.structs.replace(before, given_at=edit.now) == evidence
            if before is not None and same and evidence.kind is not EvidenceKind.MACHINE_CHECK:
                evidence = before
            else:
                await edit.append(EVIDENCE, subject, name, _json(evidence))
        return await self._told(evidence)

    async def _told(self, result: T) -> T:
        """Have this node know it before anybody is answered; the others see it when they next look."""
        await self._refreshing.refresh()
        return result

    def _check_licences(self, *ids: str) -> None:
        for each in ids:
            if self._licences is not None and each not in self._licences:
                near = difflib.get_close_matches(each, self._licences, 1)
                hint = f" Did you mean {near[0]!r}?" if near else ""
                raise NotFound(f"There is no licence record {each[:64]!r}.{hint}", param="licence")


async def _product(edit: Appending, name: str) -> Product:
    row = await edit.latest(f"product:{name}")
    if row is None:
        raise NotFound(f"There is no product {name[:128]!r}.", param="product")
    return _read(row, Product)


async def _join(edit: Appending, member: Member, name: str, present: str | None, wanted: Assignment) -> bool:
    """Write what it takes; whether that was anything."""
    if wanted.remove:
        if present == name:
            await edit.append(UNASSIGN, member.subject, name, _json(Membership(product=None, member=member)))
        return present == name
    if present == name:
        return False
    if present is not None:
        if not wanted.move:
            raise Conflict(f"{member.subject} belongs to the product {present!r}; say `move` to take it from there.")
        await edit.append(UNASSIGN, member.subject, present, _json(Membership(product=None, member=member)))
    await edit.append(ASSIGN, member.subject, name, _json(Membership(product=name, member=member)))
    return True


def _json(value: object) -> str:
    return _encode(value).decode()


def _read(row: Row, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(row.content, type=kind)
    except msgspec.MsgspecError as error:
        raise HistoryBroken(f"Row {row.sequence} of the history of licences cannot be read: {error}") from error
