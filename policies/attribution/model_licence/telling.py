"""What the rows of a history tell, one after the other: the snapshot that holds after the last of them; knows no SQL."""

from __future__ import annotations

from typing import TypeVar

import msgspec
from msgspec import Struct

from policies.attribution.model_licence.history import ORIGIN, Head, Row
from policies.attribution.model_licence.products import Attestation, Evidence, Product, Snapshot

PRODUCT_ADD = "product.add"
PRODUCT_CHANGE = "product.change"
ASSIGN = "assign"
UNASSIGN = "unassign"
ATTEST = "attest"
EVIDENCE = "evidence"

K = TypeVar("K")


class Member(Struct, frozen=True, kw_only=True):
    """Who belongs to a product: a key by its public id, or a tenant, or one of its teams."""

    key: str | None = None
    tenant: str | None = None
    team: str | None = None

    @property
    def subject(self) -> str:
        """What its rows are filed under. No tenant's name has a slash in it."""
        if self.key is not None:
            return f"key:{self.key}"
        return f"tenant:{self.tenant}" if self.team is None else f"team:{self.tenant}/{self.team}"


class Membership(Struct, frozen=True, kw_only=True):
    """What a row says of a member; product None for none any more."""

    product: str | None
    member: Member


_products = msgspec.json.Decoder(Product)
_memberships = msgspec.json.Decoder(Membership)
_attestations = msgspec.json.Decoder(Attestation)
_evidence = msgspec.json.Decoder(Evidence)


class Told:
    """All that was told so far. Rows are taken in order, each once.

    Attributes:
        head: the last row that was taken.
        broken: the first row that did not follow on the one before it, or was not what its digest says; None for none.
    """

    def __init__(self) -> None:
        self.head = Head(0, ORIGIN)
        self.broken: int | None = None
        self._products: dict[str, Product] = {}
        self._of_keys: dict[str, str] = {}
        self._of_teams: dict[tuple[str, str | None], str] = {}
        # Tuples, which stay the same objects until something is said: so it is quickly seen of which products nothing was.
        self._attestations: dict[str, tuple[Attestation, ...]] = {}
        self._evidence: dict[str, tuple[Evidence, ...]] = {}

    def take(self, row: Row) -> None:
        """Go one row on.

        Raises:
            msgspec.MsgspecError: it is none that this version can read; nothing was taken.
        """
        self._tell(row)
        follows = (row.sequence, row.previous) == (self.head.sequence + 1, self.head.digest)
        if self.broken is None and not (follows and row.expected() == row.digest):
            self.broken = row.sequence
        self.head = Head(row.sequence, row.digest)

    def _tell(self, row: Row) -> None:
        if row.action in (PRODUCT_ADD, PRODUCT_CHANGE):
            product = _products.decode(row.content)
            self._products[product.name] = product
        elif row.action in (ASSIGN, UNASSIGN):
            self._join(_memberships.decode(row.content))
        elif row.action == ATTEST:
            attestation = _attestations.decode(row.content)
            name = attestation.product
            self._attestations[name] = (*self._attestations.get(name, ()), attestation)
        elif row.action == EVIDENCE:
            evidence = _evidence.decode(row.content)
            name = evidence.product
            self._evidence[name] = (*self._evidence.get(name, ()), evidence)
        else:
            raise msgspec.ValidationError(f"row {row.sequence}: this version does not know the action {row.action!r}")

    def _join(self, membership: Membership) -> None:
        member = membership.member
        if member.key is not None:
            _set(self._of_keys, member.key, membership.product)
        elif member.tenant is not None:
            _set(self._of_teams, (member.tenant, member.team), membership.product)

    def snapshot(self) -> Snapshot:
        """What holds now; later rows do not change it."""
        return Snapshot(
            products=dict(self._products),
            of_keys=dict(self._of_keys),
            of_teams=dict(self._of_teams),
            attestations=dict(self._attestations),
            evidence=dict(self._evidence),
            revision=self.head.sequence,
        )


def _set(kept: dict[K, str], key: K, product: str | None) -> None:
    if product is None:
        kept.pop(key, None)
    else:
        kept[key] = product
