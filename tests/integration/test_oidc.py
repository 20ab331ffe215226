"""A gateway that knows callers by the tokens of a real issuer: let in, refused, after new keys, and through an outage."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.integration.asking import PROMPT
from tests.integration.configs import config, model, replica
from tests.support.gateway_process import GatewayProcess, gateway_process, moegate, poll, write_config
from tests.support.oidc_issuer import Issuer, oidc_issuer
from tests.support.scripted_engine.process import ScriptedEngine, scripted_engine

KEY = "mg-a1b2c3d4e5f6-" + "s" * 43


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with oidc_issuer() as issuer:
        yield issuer


@pytest.fixture(scope="module")
def engine() -> Iterator[ScriptedEngine]:
    with scripted_engine() as engine:
        yield engine


@pytest.fixture(scope="module")
def gateway(
    issuer: Issuer, engine: ScriptedEngine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    settings = config(model("kimi-k2", replica("a", engine)), keys={"demo": KEY})
    settings["plugins"].insert(
        0, {"use": "oidc", "issuer": issuer.url, "audience": ["moegate"], "claims": {"tenant": "tenant"}}
    )
    with gateway_process(settings, tmp_path_factory.mktemp("gateway")) as gateway:
        gateway.wait_log("keys changed")
        yield gateway


def ask(gateway: GatewayProcess, bearer: str, model: str = "kimi-k2") -> httpx.Response:
    """A chat call."""
    body = {"model": model, "messages": [{"role": "user", "content": PROMPT}]}
    return gateway.http.post("/v1/chat/completions", json=body, headers={"authorization": f"Bearer {bearer}"})


def test_tokens_and_keys_stand_side_by_side(gateway: GatewayProcess, issuer: Issuer) -> None:
    assert ask(gateway, issuer.token()).status_code == 200
    assert ask(gateway, issuer.token(alg="RS256")).status_code == 200
    assert ask(gateway, KEY).status_code == 200


@pytest.mark.parametrize(
    "wrong", [{"aud": "other"}, {"exp": 1}, {"tenant": "no such name"}, {"iss": "https://other.example"}]
)
def test_a_wrong_token_is_refused_in_few_words(gateway: GatewayProcess, issuer: Issuer, wrong: dict[str, str]) -> None:
    token = issuer.token(**wrong)
    answer = ask(gateway, token)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json()["error"]["code"] == "invalid_api_key"
    assert not any(word in answer.text for word in (issuer.url, "audience", "claim", "signature", token))


def test_new_keys_are_found_when_they_are_first_seen(gateway: GatewayProcess, issuer: Issuer) -> None:
    old = issuer.token()
    issuer.rotate()
    new = issuer.token()
    first = ask(gateway, new)
    assert first.status_code == 401
    assert int(first.headers["retry-after"]) <= 5
    poll(lambda: ask(gateway, new).status_code == 200, "the new key is known", 30)
    assert ask(gateway, old).status_code == 200


def test_an_outage_of_the_issuer_and_a_reload_in_it(gateway: GatewayProcess, issuer: Issuer) -> None:
    known, fresh = issuer.token(), issuer.token(sub="bob")
    assert ask(gateway, known).status_code == 200
    issuer.kill()
    try:
        assert ask(gateway, known).status_code == 200
        assert ask(gateway, fresh).status_code == 200
        gateway.file.write_text(gateway.file.read_text().replace('"issuer"', '"leeway_seconds": 31, "issuer"'))
        gateway.wait_log("keys not fetched", seconds=30)
        assert ask(gateway, known).status_code == 200
        assert known not in gateway.log
    finally:
        issuer.start()


def test_a_token_s_tenant_has_the_limits_of_the_database(
    issuer: Issuer, engine: ScriptedEngine, tmp_path: Path
) -> None:
    """The plugin `tenants` knows them; its own keys and the tokens of a tenant share one budget."""
    settings = config(model("kimi-k2", replica("a", engine)), model("other", replica("b", engine)), keys={})
    oidc = {"use": "oidc", "issuer": issuer.url, "audience": ["moegate"], "claims": {"tenant": "tenant"}}
    settings["plugins"] = [oidc, {"use": "tenants"}]
    settings["policies"]["admission"] = [{"use": "quotas"}]
    settings["database"] = f"sqlite:///{tmp_path / 'moegate.db'}"
    limit = {"name": "few", "dimension": "requests", "amount": 2, "every": "month", "window": "calendar"}
    acme = {"name": "acme", "models": ["kimi-k2"], "limits": [limit], "keys": [{"name": "ci"}]}
    write_config(tmp_path / "moegate.yaml", settings, 1)
    (tmp_path / "tenants.json").write_text(json.dumps({"tenants": [acme, {"name": "gone", "disabled": True}]}))
    applied = moegate("tenants", "apply", "-f", "tenants.json", folder=tmp_path)
    assert applied.returncode == 0, applied.stderr
    key = re.findall(r"mg-\S+", applied.stdout)[-1]
    with gateway_process(settings, tmp_path) as gateway:  # ready: the keys of the issuer and of the database are known
        assert ask(gateway, issuer.token()).status_code == 200
        refused = ask(gateway, issuer.token(), "other")
        assert (refused.status_code, refused.json()["error"]["param"]) == (403, "model")
        assert ask(gateway, key).status_code == 200
        for bearer in (issuer.token(sub="bob"), key):
            answer = ask(gateway, bearer)
            assert (answer.status_code, answer.headers["x-moegate-error"]) == (429, "quota_exceeded")
            assert "tenant.few" in answer.json()["error"]["message"]
        assert ask(gateway, issuer.token(tenant="elsewhere"), "other").status_code == 200
        assert "disabled" in ask(gateway, issuer.token(tenant="gone")).json()["error"]["message"]
