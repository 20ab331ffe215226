"""What a file or a body may declare: tenants with their teams and keys, as they shall be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated

from msgspec import Meta, Struct

from gateway.contracts.keys import parse_key
from gateway.errors import InvalidRequest
from plugins.tenants.checking import Path, Problem, doubles, problems_of, render
from plugins.tenants.model import Digest, KeyId, Name, TenantTerms, Terms
from plugins.tenants.putting import Secret


class DeclaredKey(Terms, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key. Without `secret_env` and `id`, one is made and shown if there is none of this name.

    Attributes:
        name: unique among the keys of its team or tenant that are not revoked.
        disabled: nothing said leaves it as it is.
        secret_env: the environment variable that holds the whole key; for files only.
        id, sha256: its public half, and the hash of the other; both or none.
    """

    name: Name
    disabled: bool | None = None
    secret_env: str | None = None
    id: KeyId | None = None
    sha256: Digest | None = None

    @property
    def secret(self) -> Secret | None:
        """What is to be kept of it, if that was given."""
        return Secret(self.id, self.sha256) if self.id and self.sha256 else None


class DeclaredTeam(Terms, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A team with its keys."""

    name: Name
    disabled: bool | None = None
    keys: Annotated[tuple[DeclaredKey, ...], Meta(max_length=10_000)] = ()


class DeclaredTenant(TenantTerms, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A tenant with its teams, and the keys that belong to none of them."""

    name: Name
    disabled: bool | None = None
    teams: Annotated[tuple[DeclaredTeam, ...], Meta(max_length=1_000)] = ()
    keys: Annotated[tuple[DeclaredKey, ...], Meta(max_length=10_000)] = ()


class Declaration(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of it. What it does not name stays, unless it is to be pruned."""

    tenants: Annotated[tuple[DeclaredTenant, ...], Meta(max_length=10_000)]


def problems(declaration: Declaration) -> Iterator[Problem]:
    """What is wrong with a declaration beyond its types."""
    yield from doubles([tenant.name for tenant in declaration.tenants], ("tenants",), "name")
    ids: dict[str, Path] = {}
    for index, tenant in enumerate(declaration.tenants):
        path: Path = ("tenants", index)
        yield from problems_of(tenant, path)
        yield from doubles([team.name for team in tenant.teams], (*path, "teams"), "name")
        yield from _keys(tenant.keys, path, ids)
        for place, team in enumerate(tenant.teams):
            yield from problems_of(team, (*path, "teams", place))
            yield from _keys(team.keys, (*path, "teams", place), ids)


def _keys(keys: tuple[DeclaredKey, ...], owner: Path, ids: dict[str, Path]) -> Iterator[Problem]:
    yield from doubles([key.name for key in keys], (*owner, "keys"), "name")
    for index, key in enumerate(keys):
        path = (*owner, "keys", index)
        yield from problems_of(key, path)
        if key.secret_env is not None and (key.id or key.sha256):
            yield (*path, "secret_env"), "stands beside `id` and `sha256`; one of the two ways will do"
        elif (key.id is None) != (key.sha256 is None):
            yield (*path, "id"), "`id` and `sha256` go together"
        if key.id is not None and ids.setdefault(key.id, path) is not path:
            yield (*path, "id"), f"is the id of {render(ids[key.id])} as well"


def with_secrets(keys: tuple[DeclaredKey, ...], owner: Path, environment: Mapping[str, str]) -> tuple[DeclaredKey, ...]:
    """The same keys, with what is kept of the secrets that they have in the environment.

    Raises:
        InvalidRequest: a variable is not set, or holds no key.
    """
    return tuple(_with_secret(key, (*owner, "keys", index), environment) for index, key in enumerate(keys))


def _with_secret(key: DeclaredKey, path: Path, environment: Mapping[str, str]) -> DeclaredKey:
    if key.secret_env is None:
        return key
    blamed = render((*path, "secret_env"))
    text = environment.get(key.secret_env)
    if text is None:
        raise InvalidRequest(f"{blamed}: environment variable {key.secret_env[:128]} is not set", param=blamed)
    parts = parse_key(text)
    if parts is None:
        raise InvalidRequest(
            f"{blamed}: {key.secret_env[:128]} holds no key of the form mg-<public id>-<secret>", param=blamed
        )
    found = {field: getattr(key, field) for field in key.__struct_fields__}
    return DeclaredKey(**{**found, "secret_env": None, "id": parts.public_id, "sha256": parts.digest.hex()})
