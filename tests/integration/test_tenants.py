"""Tenants and keys with two gateways on one database, administered by a command first and then by one gateway's admin API."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec import Struct

from gateway.contracts.keys import parse_key
from tests.integration.asking import CHAT, chat
from tests.integration.configs import model, replica
from tests.integration.conftest import assert_quiet_log, client_for
from tests.support.gateway_process import GatewayProcess, gateway_process, moegate, poll, write_config
from tests.support.scripted_engine.process import scripted_engine

# What is promised of a revocation. Gateways look every 0.25 s, so a busy machine has the rest of the second to spare.
REVOKED_SECONDS = 1.0

# A call that takes so long was not held up by the gateway: it shows that nothing ran. Then it is measured again.
STALL_SECONDS = 0.3
ATTEMPTS = 4

FILE = """\
tenants:
  - name: ops
    keys: [{name: admin, scopes: ["admin:read", "admin:write"]}]
"""


@dataclass(frozen=True)
class Two:
    """Two gateways, and a client that may administer them by the first."""

    first: GatewayProcess
    second: GatewayProcess
    admin: httpx.Client
    folder: Path

    def post(self, path: str, body: Any = None) -> Any:
        answer = self.admin.post(f"/admin/v1{path}", json=body)
        assert answer.is_success, answer.text
        return answer.json()

    def key(self, tenant: str, **said: Any) -> Any:
        """A new key of a new tenant."""
        self.post("/tenants", {"name": tenant})
        return self.post("/keys", {"name": "ci", "tenant": tenant, **said})


def call(gateway: GatewayProcess, key: str, model: str = "kimi-k2") -> httpx.Response:
    return gateway.http.post(CHAT, json=chat(model=model), headers={"x-api-key": key})


def command(folder: Path, *words: str) -> str:
    """Run a command of moegate with the configuration in that folder; what it prints."""
    done = moegate(*words, "--config", str(folder / "moegate.yaml"), folder=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def two(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    folder = tmp_path_factory.mktemp("tenants")
    with ExitStack() as stack:
        url = f"sqlite:///{folder / 'moegate.db'}"
        if request.param == "postgresql":
            url = stack.enter_context(request.getfixturevalue("postgres").database()).url
        engine = stack.enter_context(scripted_engine(name="a"))
        settings: dict[str, Any] = {
            "database": url,
            "models": [model("kimi-k2", replica("a", engine)), model("other", replica("b", engine))],
            "plugins": [{"use": "tenants"}, {"use": "prometheus"}],
        }
        write_config(folder / "moegate.yaml", settings, 1)
        (folder / "tenants.yaml").write_text(FILE)
        command(folder, "db", "upgrade")
        applied = command(folder, "tenants", "apply", "-f", "tenants.yaml")
        key = applied.splitlines()[-1].rpartition(" ")[2]
        first, second = (
            stack.enter_context(gateway_process(settings, tmp_path_factory.mktemp("gateway"))) for _ in range(2)
        )
        admin = stack.enter_context(client_for(first, key))
        poll(lambda: admin.get("/admin/v1/tenants").is_success, "the first gateway has read the keys")
        yield Two(first, second, admin, folder)
        for gateway in (first, second):
            assert_quiet_log(gateway.log, key)


def test_a_key_that_one_gateway_makes_and_revokes_is_known_and_forgotten_by_both(two: Two) -> None:
    made = two.key("revoking")
    for gateway in (two.first, two.second):
        poll(lambda gateway=gateway: call(gateway, made["key"]).is_success, "it knows the key")
    two.post(f"/keys/{made['id']}/revoke")
    for gateway in (two.first, two.second):
        poll(lambda gateway=gateway: call(gateway, made["key"]).status_code == 401, "it refuses the key")
    assert call(two.first, made["key"]).json()["error"]["message"] == "This API key is not valid."


class Watched(Struct):
    """Calls with a key that has been revoked: when each began, in seconds since, how long it took, and its status."""

    calls: list[tuple[float, float, int]]

    @property
    def late(self) -> list[float]:
        """When those began that were let in although it was too late."""
        return [began for began, _, status in self.calls if status == 200 and began >= REVOKED_SECONDS]

    @property
    def stalled(self) -> bool:
        """Whether the machine stood still, so that no gateway could have heard of anything."""
        return any(seconds > STALL_SECONDS for _, seconds, _ in self.calls)


def watch(gateway: GatewayProcess, key: str, since: float) -> Watched:
    """Call until the key is refused and has been for a while, and beyond the time by which it must be."""
    watched, refusals = Watched([]), 0
    while refusals < 20 or watched.calls[-1][0] < REVOKED_SECONDS + 0.2:
        began = time.monotonic()
        status = call(gateway, key).status_code
        assert status in (200, 401)
        watched.calls.append((began - since, time.monotonic() - began, status))
        refusals = refusals + 1 if status == 401 else 0
        assert began - since < 20, "it is never refused"
    return watched


@pytest.mark.parametrize("by", ["command", "api"])
def test_a_revoked_key_opens_nothing_on_the_other_gateway_after_a_second(two: Two, by: str) -> None:
    for attempt in range(ATTEMPTS):
        made = two.key(f"second-{by}-{attempt}")
        poll(lambda made=made: call(two.second, made["key"]).is_success, "it knows the key")
        if by == "command":
            command(two.folder, "keys", "revoke", made["id"])
        else:
            two.post(f"/keys/{made['id']}/revoke")
        watched = watch(two.second, made["key"], time.monotonic())
        if not watched.late:
            return
        assert watched.stalled, f"still let in {max(watched.late):.2f} s after it was revoked"
    raise AssertionError("the machine stood still each time")


def test_a_disabled_tenant_is_heeded_by_the_other_gateway(two: Two) -> None:
    made = two.key("disabling")
    poll(lambda: call(two.second, made["key"]).is_success, "it knows the key")
    assert two.admin.patch("/admin/v1/tenants/disabling", json={"disabled": True}).is_success
    poll(lambda: call(two.second, made["key"]).status_code == 401, "it refuses the key")
    assert "disabled" in call(two.second, made["key"]).json()["error"]["message"]


def test_a_key_opens_what_its_owners_allow(two: Two) -> None:
    made = two.key("narrow", models=["other"])
    poll(lambda: call(two.second, made["key"], "other").is_success, "it knows the key")
    refused = call(two.second, made["key"])
    assert (refused.status_code, refused.json()["error"]["param"]) == (403, "model")
    for path in ("/admin/v1/tenants", "/admin/v1/openapi.json"):
        assert two.second.http.get(path, headers={"x-api-key": made["key"]}).status_code == 403
    described = two.admin.get("/admin/v1/openapi.json").json()["paths"]
    assert {"/admin/v1/tenants", "/admin/v1/teams", "/admin/v1/keys", "/admin/v1/audit"} <= set(described)


def test_a_command_on_the_machine_reaches_both(two: Two) -> None:
    made = two.key("commanded")
    for gateway in (two.first, two.second):
        poll(lambda gateway=gateway: call(gateway, made["key"]).is_success, "it knows the key")
    rotated = command(two.folder, "keys", "rotate", made["id"], "--grace", "0")
    assert parse_key(rotated) is not None
    for gateway in (two.first, two.second):
        poll(lambda gateway=gateway: call(gateway, made["key"]).status_code == 401, "it refuses the old secret")
        assert call(gateway, rotated).is_success
    entries = two.admin.get("/admin/v1/audit?tenant=commanded").json()["data"]
    assert [entry["action"] for entry in entries] == ["key.rotate", "key.create", "tenant.create"]
    assert [entry["actor"].partition(" ")[0] for entry in entries] == ["command", "key", "key"]


def test_a_reload_forgets_no_key(two: Two) -> None:
    made = two.key("reloading")
    poll(lambda: call(two.first, made["key"]).is_success, "it knows the key")
    told = two.first.log.count(" reloaded ")
    two.first.write(two.first.file.read_text().replace('"server": {', '"server": {"body_seconds": 31,'))
    # From before until after it: there is no moment at which the key is not known.
    two.first.send_signal(signal.SIGHUP)

    def reloaded() -> bool:
        assert call(two.first, made["key"]).status_code == 200
        return two.first.log.count(" reloaded ") > told

    poll(reloaded, "it has reloaded", 30.0)
    assert call(two.first, made["key"]).status_code == 200
