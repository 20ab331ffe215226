"""What policies and plugins count, on the page that Prometheus scrapes of a real gateway."""

from __future__ import annotations

from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from gateway.contracts.keys import generate_key
from tests.integration.asking import CHAT, chat
from tests.integration.configs import config, model, replica
from tests.integration.conftest import client_for
from tests.support.gateway_process import Json, gateway_process
from tests.support.scripted_engine.process import ScriptedEngine, scripted_engine

KEY = generate_key()
LIMIT = {"name": "few", "dimension": "requests", "amount": 2, "every": "month", "window": "calendar"}

EXPECTED = {
    "moegate_quota_admitted", "moegate_quota_refused", "moegate_quota_exchanges", "moegate_quota_store_lost",
    "moegate_fair_queue_passed", "moegate_fair_queue_wait_seconds", "moegate_ledger_written", "moegate_ledger_shipped",
    "moegate_ledger_lag_seconds", "moegate_tenants_snapshot_age_seconds",
}  # fmt: skip


def settings_for(engine: ScriptedEngine) -> Json:
    shadow = {**LIMIT, "name": "trial", "amount": 1, "mode": "shadow"}
    settings = config(model("kimi-k2", replica("a", engine)), keys={"acme": KEY})
    settings["policies"]["admission"] = [{"use": "quotas", "limits": [LIMIT, shadow]}, {"use": "fair_queue"}]
    settings["plugins"] += [{"use": "ledger", "ship_seconds": 0.05}, {"use": "tenants"}]
    return settings


def test_one_page_shows_what_everybody_counts(tmp_path: Path) -> None:
    with (
        scripted_engine(name="a") as engine,
        gateway_process(settings_for(engine), tmp_path) as gateway,
        client_for(gateway, KEY) as http,
    ):
        statuses = [http.post(CHAT, json=chat()).status_code for _ in range(5)]
        assert statuses == [200, 200, 429, 429, 429]
        assert gateway.metric("moegate_quota_admitted_total") == 2
        assert gateway.metric("moegate_quota_refused_total", limit="few", mode="enforce") == 3
        assert gateway.metric("moegate_quota_refused_total", limit="trial", mode="shadow") == 1
        assert gateway.metric("moegate_quota_store_lost") == 0
        assert gateway.metric("moegate_fair_queue_passed_total", model="kimi-k2") == 2
        assert gateway.metric("moegate_ledger_written_total") == 5
        gateway.wait_metric("moegate_ledger_shipped_total", 5)
        gateway.wait_metric("moegate_ledger_waiting_bytes", 0)
        page = gateway.http.get("/metrics")
        assert page.status_code == 200
        families = [family.name for family in text_string_to_metric_families(page.text)]
        assert set(families) >= EXPECTED
        assert len(set(families)) == len(families)
        assert "Traceback" not in gateway.log
        assert "metrics cannot be shown" not in gateway.log
