"""What goes wrong with real engines: refusals, clients that leave, and an engine that is killed in the middle."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import httpx
import openai
import psutil
import pytest

from tests.engines.through_gateway.conftest import KEY, config
from tests.engines.vllm_process import VllmServer, vllm_server
from tests.support.gateway_process import GatewayProcess, Json, gateway_process, poll

HELLO = [{"role": "user", "content": "Hello!"}]
LONG = {"max_tokens": 4000, "extra_body": {"ignore_eos": True}, "temperature": 0}
GONE_SECONDS = 10.0


@pytest.fixture
def running(vllm: VllmServer, gateway: GatewayProcess) -> Callable[[str], float]:
    """How many requests an engine itself says that it runs."""
    reference = next(
        replica["launch"]["port"]
        for model in _configured(gateway)["models"]
        for replica in model["replicas"]
        if "launch" in replica
    )

    def look(model: str) -> float:
        if model == "on-vllm":
            return vllm.running()
        text = httpx.get(f"http://127.0.0.1:{reference}/metrics", trust_env=False).text
        return sum(
            float(line.rpartition(" ")[2])
            for line in text.splitlines()
            if "running" in line and not line.startswith("#")
        )

    return look


def _configured(gateway: GatewayProcess) -> Json:
    return dict(json.loads(gateway.file.read_text()))


def test_an_engines_refusal_is_passed_on(client: openai.OpenAI, model: str) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model=model, messages=HELLO, logprobs=True, top_logprobs=10_000)
    assert refused.value.response.headers["x-moegate-error"] == "upstream_refused"
    assert refused.value.response.headers["x-moegate-attempts"] == "1"
    assert "127.0.0.1" not in refused.value.message


def test_a_prompt_that_is_too_long_is_refused(client: openai.OpenAI, model: str) -> None:
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model=model, messages=[{"role": "user", "content": "a 1 " * 20_000}])


def test_an_unknown_model_never_reaches_an_engine(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as refused:
        client.chat.completions.create(model="on-vlm", messages=HELLO)
    assert "on-vllm" in refused.value.message


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_stops_the_engine(
    gateway: GatewayProcess, running: Callable[[str], float], model: str, stream: bool
) -> None:
    body = {"model": model, "messages": HELLO, "stream": stream, "max_tokens": 4000, "ignore_eos": True}
    headers = {"authorization": f"Bearer {KEY}"}
    if stream:
        with gateway.http.stream("POST", "/v1/chat/completions", json=body, headers=headers) as response:
            # Kept by name: an iterator that is thrown away closes its response.
            received = response.iter_bytes()
            next(received)
            poll(lambda: running(model) == 1, "the engine works")
    else:
        with pytest.raises(httpx.ReadTimeout):
            gateway.http.post("/v1/chat/completions", json=body, headers=headers, timeout=1.5)
    poll(lambda: running(model) == 0, "the engine has stopped", GONE_SECONDS)
    gateway.wait_at_rest()


def test_a_killed_reference_engine_is_an_error_then_comes_back(client: openai.OpenAI, gateway: GatewayProcess) -> None:
    stream = client.chat.completions.create(model="on-reference", messages=HELLO, stream=True, **LONG)
    next(stream)
    engine = next(
        child
        for child in psutil.Process(gateway.process.pid).children(recursive=True)
        if child.cmdline()[1:4] == ["-P", "-m", "backends.torch_reference.engine"]  # not its keeper, which names it too
    )
    os.kill(engine.pid, signal.SIGKILL)
    with pytest.raises(openai.APIError, match="broken off"):
        list(stream)
    gateway.wait_log("engine ended")
    poll(gateway.at_rest, "the engine was started again and is ready", 120)
    answer = client.chat.completions.create(model="on-reference", messages=HELLO, temperature=0)
    assert answer.choices[0].message.content


def test_a_killed_vllm_is_an_error_and_its_calls_go_elsewhere(tmp_path: Path, gateway: GatewayProcess) -> None:
    reference = _configured(gateway)["models"][1]["replicas"][0]["launch"]["port"]
    model = Path(_configured(gateway)["models"][1]["replicas"][0]["launch"]["model"])
    with vllm_server(model, tmp_path) as doomed:
        both = config(doomed.url, reference)
        del both["models"][:2]
        with (
            gateway_process(both, tmp_path) as second,
            openai.OpenAI(base_url=f"{second.url}/v1", api_key=KEY, max_retries=0, timeout=60) as client,
        ):
            second.wait_at_rest()
            stream = _stream_on(client, "vllm-too")
            doomed.kill()
            with pytest.raises(openai.APIError, match="broken off"):
                list(stream)
            for _ in range(4):
                answer = client.chat.completions.with_raw_response.create(model="kimi-k2", messages=HELLO, max_tokens=2)
                assert answer.headers["x-moegate-replica"] == "reference-too"


def _stream_on(client: openai.OpenAI, replica: str):  # noqa: ANN202
    """A long stream that runs on one replica; the pool takes them in turn."""
    for _ in range(4):
        stream = client.chat.completions.create(model="kimi-k2", messages=HELLO, stream=True, **LONG)
        if stream.response.headers["x-moegate-replica"] == replica:
            next(stream)
            return stream
        stream.close()
    pytest.fail(f"no call was placed on {replica}")
