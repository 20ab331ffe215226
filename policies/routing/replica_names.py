"""What a policy's settings say of replicas: by a replica's own name, or by its backend for all that have it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Generic, TypeVar

from gateway import BuildContext, Replica
from gateway.errors import ConfigError

T = TypeVar("T")


class ByReplica(Generic[T]):
    """A value for each replica; a replica's own name says more than its backend's."""

    def __init__(self, values: Mapping[str, T], default: T) -> None:
        self._values = dict(values)
        self._default = default

    def of(self, replica: Replica) -> T:
        """What was said of it, or the default."""
        values = self._values
        found = values.get(replica.name)
        return found if found is not None else values.get(replica.backend, self._default)


def check_names(names: Iterable[str], context: BuildContext, setting: str) -> None:
    """Refuse names that are neither a replica's nor a backend's of any; but not where some are still to be found.

    Raises:
        ConfigError: with one problem for each, and what may have been meant.
    """
    if context.fleet.target_sources():
        return
    known = sorted({name for replica in context.fleet.replicas() for name in (replica.name, replica.backend)})
    problems = [f"{setting}: {_unknown(name, known)}" for name in dict.fromkeys(names) if name not in known]
    if problems:
        raise ConfigError(*problems)


def _unknown(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known) or 'none'}"
    return f"no replica and no backend of one is named {name!r}; {hint}"
