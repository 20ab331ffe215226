"""Two live engines with different weights under different licences: what is shown is of the weights that made the bytes.

k2-tiny stands for Kimi K2, and a copy of it with noise in its weights for something made of Kimi K2.5. Each says another
thing, so a text tells which of them it comes from, whatever the gateway says of it.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from policies.attribution.model_licence.emitted import parse
from tests.engines.torch_reference.engine_process import MODEL_NAME, Engine, running_engine
from tests.engines.verify.variants import K2_TINY, with_weights
from tests.engines.vllm_process import CONTEXT_LENGTH, vllm_server
from tests.support.gateway_process import FORGETFUL, GatewayProcess, Json, gateway_process, moegate, poll

pytestmark = [pytest.mark.engine("torch_reference"), pytest.mark.timeout(600)]

READY_SECONDS = 120.0
K2 = {"id": "moonshotai/Kimi-K2-Instruct", "context_length": CONTEXT_LENGTH}
K2_5 = {"id": "us/perturbed", "derived_from": "moonshotai/Kimi-K2.5", "context_length": CONTEXT_LENGTH}
QUESTION = {
    "messages": [{"role": "user", "content": "What does a gate do?"}],
    "temperature": 0,
    "max_tokens": 24,
}
ASK = {"x-moegate-attribution-in-answer": "true"}


@dataclass(frozen=True)
class First:
    """The engine with k2-tiny: where it is, what it says, and how it is ended."""

    backend: str
    url: str
    process: Any

    def end(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(30)


@pytest.fixture(scope="module")
def perturbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    folder = tmp_path_factory.mktemp("perturbed")
    with running_engine(with_weights(K2_TINY, folder / "model", "noise", 0.5), folder=folder) as engine:
        yield engine


@pytest.fixture(params=["torch_reference", "vllm"])
def first(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[First]:
    """Each engine in turn."""
    with ExitStack() as stack:
        if request.param == "vllm":
            server = stack.enter_context(vllm_server(K2_TINY, tmp_path))
            yield First("vllm", server.url, server.process)
        else:
            engine = stack.enter_context(running_engine(K2_TINY, folder=tmp_path))
            yield First("torch_reference", engine.url, engine.process)


def settings_for(first: First, second: Engine) -> Json:
    def replica(name: str, backend: str, url: str, checkpoint: Json) -> Json:
        return {"name": name, "backend": backend, "url": url, "served_model": MODEL_NAME, "checkpoint": checkpoint}

    replicas = [
        replica("first", first.backend, first.url, K2),
        replica("second", "torch_reference", second.url, K2_5),
    ]
    return {
        "server": {"anonymous": True},
        "models": [{"name": MODEL_NAME, "checkpoint": K2, "replicas": replicas, **FORGETFUL}],
        "policies": {"routing": [{"use": "context_fit"}], "attribution": [{"use": "model_licence"}]},
        "plugins": [{"use": "prometheus"}, {"use": "ledger", "ship_seconds": 60}],
    }


def said(url: str) -> str:
    """What an engine itself answers."""
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=120) as client:
        return client.chat.completions.create(model=MODEL_NAME, **QUESTION).choices[0].message.content or ""


def check(gateway: GatewayProcess, text: str, string: str, licence: str) -> str:
    """Ask with and without a stream, by the SDK: text and string belong together. How many attempts the first call took."""
    with openai.OpenAI(
        base_url=f"{gateway.url}/v1", api_key="none", max_retries=0, timeout=120, default_headers=ASK
    ) as client:
        asking = client.chat.completions.with_raw_response
        whole = asking.create(model=MODEL_NAME, **QUESTION)
        streamed = asking.create(model=MODEL_NAME, stream=True, **QUESTION)
        for answer in (whole, streamed):
            assert answer.headers["x-moegate-attribution"] == string
            assert answer.headers["x-moegate-licence"] == f"{licence}; state=unknown"
        parsed = whole.parse()
        assert parsed.choices[0].message.content == text
        assert (parsed.model_extra or {})["moegate"]["attribution"]["display"] == string
        assert "".join(chunk.choices[0].delta.content or "" for chunk in streamed.parse()) == text
    body = {"model": MODEL_NAME, "stream": True, **QUESTION}
    lines = httpx.post(f"{gateway.url}/v1/chat/completions", json=body, headers=ASK, timeout=120).text.splitlines()
    (comment,) = [line for line in lines if line.startswith(": moegate.attribution ")]
    assert json.loads(comment.removeprefix(": moegate.attribution "))["licence"] == licence
    return str(whole.headers["x-moegate-attempts"])


def test_a_fallback_to_other_weights_shows_their_string(first: First, perturbed: Engine, tmp_path: Path) -> None:
    of_first, of_second = said(first.url), said(perturbed.url)
    assert of_first != of_second
    settings = settings_for(first, perturbed)
    folder = tmp_path / "gateway"
    folder.mkdir()
    with gateway_process(settings, folder) as gateway:
        poll(gateway.at_rest, f"both replicas are ready:\n{gateway.log[-2000:]}", READY_SECONDS)
        assert check(gateway, of_first, "Kimi K2", "kimi-k2") == "1"
        first.end()
        assert check(gateway, of_second, "Kimi K2.5", "kimi-k2.5") == "2"
    assert kept(folder) == {("kimi-k2", "Kimi K2", 3), ("kimi-k2.5", "Kimi K2.5", 3)}


def kept(folder: Path) -> set[tuple[str, str, int]]:
    """Licences, strings and calls in the ledger of a gateway that has ended."""
    done = moegate("usage", "-c", "moegate.yaml", "--format", "json", "--by", "attribution", folder=folder)
    assert done.returncode == 0, done.stderr
    lines = json.loads(done.stdout[done.stdout.index("{") :])["lines"]
    found = [(parse(str(line["attribution"])), line["calls"]) for line in lines]
    return {(each.licence, each.shown, calls) for each, calls in found if each is not None}
