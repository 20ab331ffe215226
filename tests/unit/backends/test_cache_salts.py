from __future__ import annotations

import pytest

from backends import cache_salts
from backends.cache_salts import CacheSalts
from gateway import Secret


def test_a_salt_tells_nothing_of_its_tenant_and_is_the_same_every_time() -> None:
    salts = CacheSalts(None)
    assert salts.of("acme") is salts.of("acme")
    assert "acme" not in salts.of("acme")
    assert CacheSalts(None).of("acme") == salts.of("acme")


def test_the_operator_s_key_changes_them_all() -> None:
    found = {CacheSalts(key).of("acme") for key in (None, Secret("a"), Secret("b"), Secret("x" * 500))}
    assert len(found) == 4


def test_tenants_without_number_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_salts, "_MOST_TENANTS", 3)
    salts = CacheSalts(None)
    first = salts.of("0")
    for number in range(10):
        salts.of(str(number))
    assert len(salts._salts) <= 3
    assert salts.of("0") == first
