"""Whom a node lets in: what it has read, what it reads anew, and what it does while the database is lost."""

from __future__ import annotations

import hmac
from typing import Any

import pytest

from gateway.contracts.keys import generate_key
from plugins.tenants.directory import Directory
from plugins.tenants.failures import KeysUnknown
from plugins.tenants.model import Patch, TenantPatch
from tests.unit.plugins.tenants.scene import ACTOR, NOW, Clock, Node, id_of, refused


async def test_nobody_is_let_in_before_the_keys_are_read(node: Node, key: str) -> None:
    assert node.tenants.not_ready is not None
    with pytest.raises(KeysUnknown) as caught:
        node.knows(key)
    assert (caught.value.status, caught.value.retry_after_seconds) == (503, 1.0)
    assert node.tenants.authenticate({b"authorization": b"Bearer sk-of-another-kind"}) is None
    await node.refresh()
    assert node.tenants.not_ready is None
    found = node.knows(key)
    assert found is not None
    assert (found.key_id, found.key_name, found.tenant, found.team) == (id_of(key), "ci", "acme", "search")


@pytest.mark.parametrize("header", [b"x-api-key", b"api-key"])
async def test_other_headers_do_as_well(node: Node, key: str, header: bytes) -> None:
    await node.refresh()
    assert node.tenants.authenticate({header: key.encode()}) is not None


@pytest.mark.parametrize(
    ("what", "says"),
    [
        (lambda directory, key: directory.revoke_key(ACTOR, key), "This API key is not valid."),
        (lambda directory, key: directory.change_key(ACTOR, key, Patch(disabled=True)), "It is disabled."),
        (
            lambda directory, _: directory.change_tenant(ACTOR, "acme", TenantPatch(disabled=True)),
            "tenant is disabled.",
        ),
        (
            lambda directory, _: directory.change_team(ACTOR, "acme", "search", Patch(disabled=True)),
            "team is disabled.",
        ),
        (lambda directory, key: directory.change_key(ACTOR, key, Patch(expires_at=NOW)), "It has expired."),
        (lambda directory, _: directory.change_tenant(ACTOR, "acme", TenantPatch(expires_at=NOW)), "It has expired."),
        (lambda directory, _: directory.change_team(ACTOR, "acme", "search", Patch(expires_at=NOW)), "It has expired."),
    ],
)
async def test_what_ends_a_key_ends_it_at_the_next_look(
    directory: Directory, node: Node, key: str, what: Any, says: str
) -> None:
    await node.refresh()
    assert node.knows(key) is not None
    await what(directory, id_of(key))
    assert node.knows(key) is not None
    await node.refresh()
    assert refused(node, key).endswith(says)
    # Without the secret, all keys look alike.
    assert refused(node, generate_key(id_of(key))) == refused(node, generate_key()) == "This API key is not valid."


async def test_a_key_ends_by_itself_when_its_time_has_come(
    directory: Directory, node: Node, key: str, clock: Clock
) -> None:
    await directory.change_team(ACTOR, "acme", "search", Patch(expires_at=NOW + 100))
    await directory.change_key(ACTOR, id_of(key), Patch(expires_at=NOW + 200))
    await node.refresh()
    clock.now = NOW + 99.9
    assert node.knows(key) is not None
    clock.now = NOW + 100
    assert refused(node, key).endswith("It has expired.")


async def test_a_rotated_key_has_two_secrets_for_the_grace(
    directory: Directory, node: Node, key: str, clock: Clock
) -> None:
    _, second = await directory.rotate_key(ACTOR, id_of(key), 3600)
    clock.now += 1000
    _, third = await directory.rotate_key(ACTOR, id_of(key), 3600)
    await node.refresh()
    assert len({id(node.knows(each)) for each in (key, second, third)}) == 1
    clock.now = NOW + 3600
    assert refused(node, key) == "This API key is not valid."
    assert node.knows(second) == node.knows(third)
    clock.now = NOW + 4600
    assert refused(node, second) == "This API key is not valid."
    assert node.knows(third) is not None


async def test_no_grace_ends_every_old_secret_at_once(directory: Directory, node: Node, key: str) -> None:
    _, second = await directory.rotate_key(ACTOR, id_of(key), 3600)
    _, third = await directory.rotate_key(ACTOR, id_of(key), 0)
    await node.refresh()
    assert refused(node, key) == refused(node, second) == "This API key is not valid."
    assert node.knows(third) is not None


async def test_an_unknown_id_takes_the_same_way_as_a_wrong_secret(
    node: Node, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await node.refresh()
    compared: list[tuple[int, int]] = []
    really = hmac.compare_digest

    def compare(left: bytes, right: bytes) -> bool:
        compared.append((len(left), len(right)))
        return really(left, right)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    for wrong in (generate_key(), generate_key(id_of(key))):
        refused(node, wrong)
    assert compared == [(32, 32), (32, 32)]


async def test_how_old_what_is_known_is_shown(node: Node, key: str, clock: Clock) -> None:
    def shown() -> list[dict[tuple[str, ...], Any]]:
        return [dict(metric.samples) for metric in node.tenants.metrics()]

    assert shown() == [{}, {(): 0}]
    await node.refresh()
    clock.now += 7
    assert shown() == [{(): 7}, {(): 1}]
    assert node.knows(key) is not None
