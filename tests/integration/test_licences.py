"""Products and their licences with two gateways on one PostgreSQL: by commands, by the admin API, and what calls are told."""

from __future__ import annotations

import datetime as dt
import json
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.asking import CHAT, chat
from tests.integration.configs import model, replica
from tests.integration.conftest import client_for
from tests.support.gateway_process import GatewayProcess, gateway_process, moegate, poll, write_config
from tests.support.postgres import PostgresDatabase, PostgresServer
from tests.support.scripted_engine.process import scripted_engine

# What is promised of an attestation. Whatever else a busy machine does, some of several are heard of in time; of a
# gateway that looks too seldom only the first may be by chance, as each of the others begins just after it has looked.
HEARD_SECONDS = 1.0
IN_TIME = 3
ATTEMPTS = 10

OVER = 100_000_001

FILE = """\
tenants:
  - name: ops
    keys: [{name: admin, scopes: ["admin:read", "admin:write"]}]
  - name: acme
    keys: [{name: shop}]
"""


class Page(BaseHTTPRequestHandler):
    """A product's pages: one shows the string, all others show another one."""

    def do_GET(self) -> None:
        body = b"<p>Powered by Kimi K2</p>" if self.path == "/shown" else b"<p>Powered by Kimi K2.5</p>"
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *_: Any) -> None:  # noqa: A002 - as the base class calls it
        pass


@contextmanager
def pages() -> Iterator[int]:
    """The port that they are at."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass(frozen=True)
class Two:
    """Two gateways, a client that may administer them by the first, a key of the tenant acme, and where its page is."""

    first: GatewayProcess
    second: GatewayProcess
    admin: httpx.Client
    key: str
    page: str
    folder: Path

    def post(self, path: str, body: Any) -> Any:
        answer = self.admin.post(f"/admin/v1{path}", json=body)
        assert answer.is_success, answer.text
        return answer.json()

    def call(self, gateway: GatewayProcess) -> httpx.Headers:
        answer = gateway.http.post(CHAT, json=chat(), headers={"x-api-key": self.key})
        assert answer.is_success, answer.text
        return answer.headers

    def state(self, gateway: GatewayProcess) -> str:
        """What a call is told of how its product stands."""
        return self.call(gateway)["x-moegate-licence"].partition("state=")[2].partition(";")[0]

    def wait_state(self, state: str) -> None:
        for gateway in (self.first, self.second):
            poll(lambda gateway=gateway: self.state(gateway) == state, f"a gateway says {state}")

    def command(self, *words: str, status: int = 0) -> str:
        return command(self.folder, *words, status=status)


def command(folder: Path, *words: str, status: int = 0) -> str:
    """Run a command of moegate with the configuration in that folder; what it prints."""
    done = moegate(*words, "--config", str(folder / "moegate.yaml"), folder=folder)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout.strip()


def today() -> str:
    return dt.datetime.now(dt.UTC).date().isoformat()


@pytest.fixture(scope="module")
def two(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    folder = tmp_path_factory.mktemp("licences")
    with ExitStack() as stack:
        url = stack.enter_context(postgres.database()).url
        port = stack.enter_context(pages())
        engine = stack.enter_context(scripted_engine(name="a"))
        licences = {"use": "model_licence", "page_checks": {"internal_hosts": [f"127.0.0.1:{port}"]}}
        settings: dict[str, Any] = {
            "database": url,
            "models": [model("kimi-k2", replica("a", engine))],
            "policies": {"attribution": [licences]},
            "plugins": [{"use": "tenants"}, {"use": "ledger", "path": str(folder / "ledger"), "ship_seconds": 0.1}],
        }
        write_config(folder / "moegate.yaml", settings, 1)
        (folder / "tenants.yaml").write_text(FILE)
        command(folder, "db", "upgrade")
        applied = json.loads(command(folder, "tenants", "apply", "-f", "tenants.yaml", "--json"))
        keys = {made["name"]: made["key"] for made in applied["keys"]}
        first, second = (
            stack.enter_context(gateway_process(settings, tmp_path_factory.mktemp("gateway"))) for _ in range(2)
        )
        admin = stack.enter_context(client_for(first, keys["admin"]))
        poll(lambda: admin.get("/admin/v1/products").is_success, "the first gateway has read the keys")
        yield Two(first, second, admin, keys["shop"], f"http://127.0.0.1:{port}", folder)


def test_by_commands_from_nobody_to_over_the_threshold_and_shown(two: Two) -> None:
    two.wait_state("unknown")
    two.command("products", "add", "shop", "--owner", "Shop team", "--url", f"{two.page}/shown")
    two.command("products", "assign", "shop", "--tenant", "acme")
    two.command("licences", "attest", "shop", "--as-of", today(), "--users", "100000000", "--revenue", "20000000")
    two.wait_state("near")
    said = (
        "licences",
        "attest",
        "shop",
        "--as-of",
        today(),
        "--users",
        str(OVER),
        "--revenue",
        "0",
        "--by",
        "The owner",
    )
    assert "attested by The owner" in two.command(*said)
    two.wait_state("above_not_displayed")
    assert "'Kimi K2' is not shown" in two.command("licences", "check", status=1)
    assert two.command("licences", "evidence", "shop", "--licence", "kimi-k2", "--check").startswith(
        "shop shows 'Kimi K2'"
    )
    two.wait_state("above_displayed")
    other = ("licences", "evidence", "shop", "--licence", "kimi-k2", "--check", "--url", f"{two.page}/else")
    assert "does not show" in two.command(*other, status=1)
    two.wait_state("above_not_displayed")
    assert two.call(two.second)["x-moegate-attribution"] == "Kimi K2"
    shown = two.command("products", "show", "shop")
    assert "tenant acme" in shown
    assert "above_not_displayed" in shown
    assert "kimi-k2" in two.command("licences", "list")
    # By the first gateway's API, what commands wrote is there as well.
    details = two.admin.get("/admin/v1/products/shop").json()
    assert [each["displayed"] for each in details["evidence"]] == [True, False]


def test_the_other_gateway_hears_of_an_attestation_within_a_second(two: Two) -> None:
    two.post("/products", {"name": "quick", "owner": "Somebody"})
    two.post("/products/quick/members", {"members": [{"tenant": "acme"}], "move": True})
    two.wait_state("unknown")
    took: list[float] = []
    while sum(seconds < HEARD_SECONDS for seconds in took) < IN_TIME:
        assert len(took) < ATTEMPTS, f"it took {took} seconds"
        users, state = ((OVER, "above_not_displayed"), (len(took), "below"))[len(took) % 2]
        body = {"as_of": today(), "monthly_active_users": users, "monthly_revenue": 0}
        began = time.monotonic()
        two.post("/products/quick/attestations", body)
        poll(lambda state=state: two.state(two.second) == state, f"the second gateway says {state}")
        took.append(time.monotonic() - began)


def test_the_report_has_the_calls_and_the_attestations(two: Two) -> None:
    two.command("products", "add", "reported", "--owner", "Reporters")
    two.command("products", "assign", "reported", "--tenant", "acme", "--move")
    words = ("licences", "attest", "reported", "--as-of", today(), "--users", str(OVER), "--revenue", "1")
    two.command(*words, "--valid-until", (dt.datetime.now(dt.UTC).date() + dt.timedelta(days=30)).isoformat())
    two.wait_state("above_not_displayed")
    month = dt.datetime.now(dt.UTC).strftime("%Y-%m")

    def calls() -> list[Any]:
        report = two.admin.get(f"/admin/v1/licences/report?month={month}").json()
        return [
            use
            for use in report["uses"]
            if use["emitted"]
            and (use["emitted"]["product"], use["emitted"]["state"]) == ("reported", "above_not_displayed")
        ]

    poll(lambda: sum(use["calls"] for use in calls()) >= 2, "the calls are in the report", 30.0)
    [use] = calls()
    assert (use["checkpoint"], use["emitted"]["licence"]) == ("moonshotai/Kimi-K2-Instruct", "kimi-k2")
    assert (use["emitted"]["shown"], use["emitted"]["mode"]) == ("Kimi K2", "warn")
    assert use["completion_tokens"] > 0
    written = two.command("licences", "report", "--month", month)
    assert "| reported | kimi-k2 | Kimi K2 | above" in written
    assert "## reported under kimi-k2" in written
    assert "rows, whole. Head: `" in written


def test_a_tampered_history_is_found_by_the_command(postgres_database: PostgresDatabase, tmp_path: Path) -> None:
    with scripted_engine(name="a") as engine:
        settings = {
            "database": postgres_database.url,
            "models": [model("kimi-k2", replica("a", engine))],
            "policies": {"attribution": [{"use": "model_licence"}]},
            "server": {"anonymous": True},
        }
        write_config(tmp_path / "moegate.yaml", settings, 1)
        command(tmp_path, "db", "upgrade")
        command(tmp_path, "products", "add", "shop", "--owner", "Shop team")
        command(tmp_path, "licences", "attest", "shop", "--as-of", today(), "--users", str(OVER))
        head = command(tmp_path, "licences", "audit", "head")
        command(tmp_path, "licences", "attest", "shop", "--as-of", today(), "--users", "3")
        assert "3 rows" in command(tmp_path, "licences", "audit", "verify", "--head", head)
        postgres_database.sql(
            "ALTER TABLE model_licence_history DISABLE TRIGGER USER; "
            f"UPDATE model_licence_history SET content = replace(content, '{OVER}', '2') WHERE sequence = 2"
        )
        found = json.loads(command(tmp_path, "licences", "audit", "verify", "--json", status=1))
        assert [fault["rows"] for fault in found["faults"]] == [[2, 2]]


def test_without_the_policy_commands_say_so(postgres_database: PostgresDatabase, tmp_path: Path) -> None:
    with scripted_engine(name="a") as engine:
        settings: dict[str, Any] = {
            "database": postgres_database.url,
            "models": [model("kimi-k2", replica("a", engine))],
            "server": {"anonymous": True},
        }
        write_config(tmp_path / "moegate.yaml", settings, 1)
    done = moegate("products", "list", folder=tmp_path)
    assert done.returncode == 2
    assert "policies.attribution names no model_licence" in done.stderr
