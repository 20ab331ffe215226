"""Registers the stores `valkey`, `valkeys`, `redis` and `rediss`: budgets that several nodes share, on one server or a cluster."""

from __future__ import annotations

from collections.abc import Iterable

from gateway import BuildContext, Extension, hookimpl
from gateway.contracts.store import BudgetStore, StoreSettings
from plugins.valkey_store.store import ValkeyStore
from plugins.valkey_store.url import SCHEMES, read_url


def _build(settings: StoreSettings, _: BuildContext) -> BudgetStore:
    # The core keeps one store for each URL, over reloads too: so this process goes on as the same node.
    return ValkeyStore(read_url(settings.url.reveal()))


@hookimpl
def moegate_stores() -> Iterable[Extension[BudgetStore]]:
    """Register the store under the schemes of its URLs."""
    return [Extension(scheme, StoreSettings, _build) for scheme in SCHEMES]
