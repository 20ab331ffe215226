"""What products are told by a real gateway: with each answer, in bodies that the official SDKs read, in `/v1/models`, as a snippet.

Two engines have different weights, one under kimi-k2 and one of kimi-k2.5's lineage: a forced fallback changes the string.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import anthropic
import httpx
import openai
import pytest

from gateway.contracts.keys import generate_key
from policies.attribution.model_licence.emitted import parse
from tests.integration.asking import CHAT, DONE, chat, error_of, payloads
from tests.integration.configs import config, model, replica
from tests.integration.conftest import assert_quiet_log, client_for, sdk_for
from tests.support.gateway_process import FORGETFUL, GatewayProcess, Json, gateway_process, moegate
from tests.support.scripted_engine.answers import SENTENCE
from tests.support.scripted_engine.process import ScriptedEngine, scripted_engine

KEY = generate_key()
ASK = {"x-moegate-attribution-in-answer": "true"}
FULL = "queue_full_503,only=a"
PERTURBED = {"id": "us/perturbed", "derived_from": "us/tuned", "context_length": 131_072}
TUNED = {"id": "us/tuned", "derived_from": "moonshotai/Kimi-K2.5", "context_length": 131_072}


@dataclass(frozen=True)
class Shop:
    """A gateway that applies licences, and how it is asked."""

    gateway: GatewayProcess
    http: httpx.Client
    openai: openai.OpenAI
    anthropic: anthropic.Anthropic


def settings_for(a: ScriptedEngine, b: ScriptedEngine) -> Json:
    settings = config(
        model("kimi-k2", replica("a", a), replica("b", b, checkpoint=PERTURBED), aliases=["kimi"], **FORGETFUL),
        {**model("tuned", replica("c", b), **FORGETFUL), "checkpoint": TUNED},
        keys={"acme": KEY},
    )
    settings["policies"]["attribution"] = [{"use": "model_licence", "public": True}]
    settings["plugins"].append({"use": "ledger", "ship_seconds": 60})
    return settings


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with scripted_engine(name="a") as a, scripted_engine(name="b") as b:
        with gateway_process(settings_for(a, b), tmp_path_factory.mktemp("licensed")) as gateway:
            plain = anthropic.DefaultHttpxClient(trust_env=False, verify=False, timeout=20)
            with (
                client_for(gateway, KEY) as http,
                sdk_for(gateway, KEY) as of_openai,
                anthropic.Anthropic(
                    base_url=gateway.url, api_key=KEY, max_retries=0, http_client=plain
                ) as of_anthropic,
            ):
                yield Shop(gateway, http, of_openai, of_anthropic)
        assert_quiet_log(gateway.log, KEY)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("fault", "engine", "attempts", "string"), [("", "a", "1", "Kimi K2"), (FULL, "b", "2", "Kimi K2.5")]
)
def test_the_string_is_of_the_weights_that_answered(
    shop: Shop, fault: str, engine: str, attempts: str, string: str, stream: bool
) -> None:
    answer = shop.http.post(CHAT, json=chat(fault=fault, stream=stream))
    assert answer.status_code == 200
    assert (answer.headers["x-moegate-replica"], answer.headers["x-moegate-attempts"]) == (engine, attempts)
    assert answer.headers.get_list("x-moegate-attribution") == [string]
    assert answer.headers["x-moegate-licence"] == f"{string.lower().replace(' ', '-')}; state=unknown"
    assert "moegate.attribution" not in answer.text


def test_the_licence_itself_is_linked(shop: Shop) -> None:
    assert shop.http.post(CHAT, json=chat()).links["license"]["url"].endswith("/LICENSE")


def test_the_ledger_keeps_what_was_emitted_and_what_was_refused(tmp_path: Path) -> None:
    """A gateway that stops has told the database all that it served."""
    with scripted_engine(name="a") as a, scripted_engine(name="b") as b:
        settings = settings_for(a, b)
        with gateway_process(settings, tmp_path) as gateway, client_for(gateway, KEY) as http:
            assert [http.post(CHAT, json=chat(fault=fault)).status_code for fault in ("", FULL)] == [200, 200]
        settings["policies"]["attribution"][0]["modes"] = {"unknown": "block"}
        with gateway_process(settings, tmp_path) as gateway, client_for(gateway, KEY) as http:
            error_of(http.post(CHAT, json=chat()), 403, "attribution_required")
            assert a.state()["seen"] == 2
    done = moegate("usage", "-c", "moegate.yaml", "--format", "json", "--by", "attribution", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = json.loads(done.stdout[done.stdout.index("{") :])["lines"]
    kept = [parsed for line in lines if (parsed := parse(str(line["attribution"]))) is not None]
    assert sorted((each.licence, each.shown, each.mode, each.refused) for each in kept) == [
        ("kimi-k2", "Kimi K2", "block", "attribution_required"),
        ("kimi-k2", "Kimi K2", "warn", ""),
        ("kimi-k2.5", "Kimi K2.5", "warn", ""),
    ]
    assert all(each.product is None and len(each.digest) == 16 for each in kept)


def test_openai_s_sdk_reads_an_answer_with_it(shop: Shop) -> None:
    answer = shop.openai.chat.completions.create(**chat(), extra_headers=ASK)
    assert answer.choices[0].message.content == SENTENCE
    assert answer.model_extra is not None
    assert answer.model_extra["moegate"]["attribution"]["display"] == "Kimi K2"
    fallen = shop.openai.chat.completions.create(**chat(fault=FULL), extra_headers=ASK)
    assert fallen.model_extra is not None
    assert fallen.model_extra["moegate"]["attribution"]["display"] == "Kimi K2.5"
    assert "moegate" not in (shop.openai.chat.completions.create(**chat()).model_extra or {})


def test_openai_s_sdk_reads_a_response_and_a_stream_with_it(shop: Shop) -> None:
    response = shop.openai.responses.create(model="kimi-k2", input="hi", extra_headers=ASK)
    assert response.output_text
    with shop.openai.chat.completions.create(**chat(stream=True, max_tokens=5), extra_headers=ASK) as stream:
        assert [chunk.choices[0].finish_reason for chunk in stream][-1] == "length"


def test_anthropic_s_sdk_reads_an_answer_and_a_stream_with_it(shop: Shop) -> None:
    asked = {"model": "kimi-k2", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}], "extra_headers": ASK}
    answer = shop.anthropic.messages.create(**asked)
    assert answer.model_extra is not None
    assert answer.model_extra["moegate"]["attribution"]["licence"] == "kimi-k2"
    with shop.anthropic.messages.stream(**asked) as stream:
        assert stream.get_final_message().stop_reason is not None


def test_a_stream_s_comment_comes_after_its_end(shop: Shop) -> None:
    answer = shop.http.post(CHAT, json=chat(stream=True, max_tokens=3), headers=ASK)
    assert payloads(answer.content)[-1] == DONE
    events, _, comment = answer.text.partition(": moegate.attribution ")
    assert events.endswith("data: [DONE]\n\n")
    assert json.loads(comment)["display"] == "Kimi K2"


def test_openai_s_sdk_reads_the_models_with_their_licences(shop: Shop) -> None:
    listed = {each.id: each.model_extra or {} for each in shop.openai.models.list()}
    assert listed.keys() == {"kimi-k2", "kimi", "tuned"}
    assert [each["display"] for each in listed["kimi"]["licences"]] == ["Kimi K2", "Kimi K2.5"]
    assert [each["id"] for each in listed["tuned"]["licences"]] == ["kimi-k2.5"]
    shown = shop.openai.models.retrieve("kimi-k2").model_extra or {}
    assert set(shown["licences"][0]) == {"id", "display", "url"}


def test_a_snippet_for_a_model(shop: Shop) -> None:
    def get(**asked: str) -> httpx.Response:
        return shop.gateway.http.get("/v1/attribution", params=asked)

    whole = get(model="kimi").json()
    assert whole["text"] == "Powered by Kimi K2 and Kimi K2.5"
    assert [each["display"] for each in whole["strings"]] == ["Kimi K2", "Kimi K2.5"]
    assert get(model="kimi", format="text").text == whole["text"]
    markup = get(model="kimi", format="html")
    assert markup.text == whole["html"]
    assert markup.headers["content-type"] == "text/html; charset=utf-8"
    assert get(model="tuned", format="text").text == "Powered by Kimi K2.5"
    error_of(get(model="kimi-k9"), 404, "model_not_found")
    assert [get().status_code, get(model="kimi", format="pdf").status_code] == [400, 400]


def test_the_page_of_licences(shop: Shop) -> None:
    answer = shop.gateway.http.get("/licences")
    assert answer.status_code == 200
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    for shown in ("kimi-k2, kimi", "us/perturbed from us/tuned from moonshotai/Kimi-K2.5", "Kimi K2.5 (prominently"):
        assert shown in answer.text


def test_check_says_which_checkpoints_have_no_licence(tmp_path: Path) -> None:
    with scripted_engine(name="a") as a:
        settings = settings_for(a, a)
        settings["models"][0]["checkpoint"] = {"id": "us/unknown", "context_length": 9}
        settings["server"] = {"port": 8080}
        (tmp_path / "moegate.yaml").write_text(json.dumps(settings))
        done = moegate("check", "--config", "moegate.yaml", folder=tmp_path)
    assert done.returncode == 2
    assert "policies.attribution[0]: checkpoint us/unknown: no record covers it" in done.stderr
