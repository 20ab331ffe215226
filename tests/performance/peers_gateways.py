"""Starts the gateways that understand what passes: LiteLLM, Portkey, TensorZero; one says why it cannot be measured."""

import shutil
import subprocess

from tests.performance.peer_catalogue import peer
from tests.performance.targets import Place, Target, UnavailableError, free_port, installed, launch, only_one_engine

LITELLM_CONFIG = """\
model_list:
{models}
litellm_settings: {{set_verbose: false, telemetry: false, {care}request_timeout: 600}}
{router}general_settings: {{disable_spend_logs: true, dangerously_permit_weak_or_unset_master_key: true}}
"""
LITELLM_MODEL = (
    '  - {{model_name: kimi-k2, litellm_params: {{model: openai/kimi-k2, api_base: "{url}/v1", api_key: none}}}}'
)
LITELLM_ROUTER = "router_settings: {routing_strategy: least-busy}\n"
# Portkey has no setting for the address that it listens on; nothing of ours may be reached from outside.
LOOPBACK_ONLY = """\
const { Server } = require("node:net");
const listen = Server.prototype.listen;
Server.prototype.listen = function (port, ...rest) {
  const done = rest.find((each) => typeof each === "function");
  return typeof port === "number" ? listen.call(this, port, "127.0.0.1", done) : listen.call(this, port, ...rest);
};
"""
TENSORZERO_CONFIG = """\
[gateway]
observability.enabled = false
disable_pseudonymous_usage_analytics = true

[models."kimi-k2"]
routing = [{names}]
{providers}"""
TENSORZERO_PROVIDER = """
[models."kimi-k2".providers.engine{number}]
type = "vllm"
model_name = "kimi-k2"
api_base = "{url}/v1/"
api_key_location = "none"
"""
# The gateway that its Python client embeds, with the HTTP door that the client opens for OpenAI's; it takes a port of its own.
TENSORZERO_PROGRAM = """\
import signal
import sys
from pathlib import Path

from tensorzero import _start_http_gateway

gateway = _start_http_gateway(
    config_file=sys.argv[1], clickhouse_url=None, postgres_url=None, valkey_url=None, async_setup=False
)
said = Path(sys.argv[2])
said.with_suffix(".new").write_text(gateway.base_url.split(":")[2].split("/")[0])
said.with_suffix(".new").replace(said)
signal.pause()
"""


def litellm(place: Place) -> Target:
    """Start LiteLLM's proxy with one worker and no logging, keys, database or callbacks."""
    proxy, port = installed("litellm"), free_port()
    config = place.folder / "litellm.yaml"
    models = "\n".join(LITELLM_MODEL.format(url=url) for url in place.urls)
    care, router = ("", LITELLM_ROUTER) if place.careful else ("num_retries: 0, ", "")
    config.write_text(LITELLM_CONFIG.format(models=models, care=care, router=router))
    command = ["env", "LITELLM_LOG=ERROR", "LITELLM_MODE=PRODUCTION", str(proxy.executable), "--config", str(config)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--num_workers", "1", "--telemetry", "False"]
    process, began_ns = launch(place, command, port, "/health/liveliness")
    settings = "1 worker, log level ERROR, no keys, no database, no callbacks, no retries"
    url = f"http://127.0.0.1:{port}"
    return Target(
        proxy.name, url, process.pid, proxy.version, settings, streams=20, process=process, launched_ns=began_ns
    )


def portkey(place: Place) -> Target:
    """Start Portkey's open gateway without its console; where to go is said by each call's headers."""
    gateway, port = installed("portkey"), free_port()
    engine = only_one_engine(place, "it spreads calls by weights that each call brings, and knows no health")
    node = shutil.which("node")
    if node is None:
        raise UnavailableError("no node on this machine")
    preload = place.folder / "loopback.cjs"
    preload.write_text(LOOPBACK_ONLY)
    command = ["env", "NODE_ENV=production", node, "--require", str(preload), str(gateway.executable)]
    process, began_ns = launch(place, [*command, f"--port={port}", "--headless"], port, "/")
    headers = ("x-portkey-provider: openai", f"x-portkey-custom-host: {engine}/v1", "authorization: Bearer none")
    runtime = subprocess.run(
        [node, "--version"], capture_output=True, text=True, check=False, timeout=10
    ).stdout.strip()
    settings = f"Node {runtime}, NODE_ENV=production --headless, provider openai with a custom host, no retries, cache or hooks"
    url = f"http://127.0.0.1:{port}"
    return Target(
        gateway.name, url, process.pid, gateway.version, settings, headers, process=process, launched_ns=began_ns
    )


def tensorzero(place: Place) -> Target:
    """Start the gateway inside TensorZero's Python client, in a process that does nothing else."""
    embedded = installed("tensorzero")
    config, program, said = (place.folder / name for name in ("tensorzero.toml", "serve.py", "port"))
    names = ", ".join(f'"engine{number}"' for number in range(len(place.urls)))
    each = [TENSORZERO_PROVIDER.format(number=number, url=url) for number, url in enumerate(place.urls)]
    config.write_text(TENSORZERO_CONFIG.format(names=names, providers="".join(each)))
    program.write_text(TENSORZERO_PROGRAM)
    command = ["env", "RUST_LOG=error", str(embedded.executable), str(program), str(config), str(said)]
    process, began_ns = launch(place, command, said, None)
    return Target(
        embedded.name,
        f"http://127.0.0.1:{said.read_text()}/openai",
        process.pid,
        embedded.version,
        "embedded gateway (its HTTP door), observability and analytics off, no ClickHouse, no retries",
        process=process,
        launched_ns=began_ns,
        model="tensorzero::model_name::kimi-k2",
    )


def bifrost(place: Place) -> Target:
    """Say why it is not measured."""
    del place
    raise UnavailableError(peer("bifrost").absent)
