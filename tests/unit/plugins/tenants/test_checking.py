"""What is wrong with a declaration is told with the path of what is to blame."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from gateway import Dimension, Limit, Scope
from plugins.tenants.checking import problems_of
from plugins.tenants.model import Terms


def limit(**said: Any) -> Limit:
    return Limit(**{"name": "a", "dimension": Dimension.REQUESTS, "amount": 1.0, "every": "day", **said})


def test_every_fault_has_the_path_of_what_it_blames() -> None:
    terms = Terms(limits=(limit(), limit(name="b", every=None), limit(name="b", amount=0.5, every=None)))
    assert [path for path, _ in problems_of(terms, ("tenants", 3))] == [
        ("tenants", 3, "limits", 2, "name"),
        ("tenants", 3, "limits", 1, "every"),
        ("tenants", 3, "limits", 2, "amount"),
        ("tenants", 3, "limits", 2, "every"),
    ]


@pytest.mark.parametrize("scope", list(Scope))
def test_every_scope_that_there_is_can_be_given(scope: Scope) -> None:
    assert msgspec.convert({"scopes": [scope.value]}, Terms).scopes == (scope,)
