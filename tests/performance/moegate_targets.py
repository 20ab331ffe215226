"""Starts moegate as users run it: as it comes, with nothing on, and with everything that governs calls."""

import os
import secrets
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from gateway.contracts.keys import generate_key, parse_key
from tests.performance.targets import Place, Target, UnavailableError, free_port, launch

# The context is as long as the longest prompt of the bench, because what does not fit is refused before it costs anything.
CONFIG = """\
server: {{host: 127.0.0.1, port: {port}, anonymous: {anonymous}}}
database: sqlite:///{folder}/bench.db
state: memory://
models:
  - name: kimi-k2
    checkpoint:
      id: moonshotai/Kimi-K2-Instruct
      revision: main
      weight_format: fp8-block
      licence: kimi-k2
      context_length: 1048576
    prices: {{input: 0.6, output: 2.5, currency: USD}}
{model}    replicas:
{replicas}
"""
HEDGED = "    hedge: {enabled: true}\n"
REPLICA = '      - {{name: scripted{number}, backend: vllm, url: "{url}", max_concurrent: 100000}}'
USUAL = """\
policies:
  admission: [{{use: concurrency_limit, per_key: 100000}}]
  routing: [{{use: context_fit}}, {{use: least_loaded}}]
  attribution: []
plugins: [{{use: api_keys, keys: [{{name: bench, tenant: bench, secret: "{secret}"}}]}}, {{use: prometheus}}]
"""
BARE = """\
policies:
  admission: []
  routing: [{use: context_fit}, {use: least_loaded}]
  attribution: []
plugins: [{use: prometheus}]
"""
# Wide enough that nothing is refused; of five kinds, so that no two of them are counted in one go.
GOVERNED = """\
policies:
  admission:
    - use: quotas
      limits:
        - {name: requests, dimension: requests, amount: 100000000, every: minute}
        - {name: tokens, dimension: total_tokens, amount: 100000000000, every: minute, per: [tenant]}
        - {name: day, dimension: total_tokens, amount: 100000000000, every: day, window: calendar, per: [tenant]}
        - {name: spend, dimension: cost, amount: 1000000, every: month, window: calendar, per: [tenant]}
        - {name: calls, dimension: concurrent_calls, amount: 100000}
  routing: [{use: context_fit}, {use: least_loaded}]
  attribution: []
plugins: [{use: tenants}, {use: prometheus}, {use: ledger, path: ledger}]
"""


def moegate_command() -> Path:
    """Find the console script of the environment that runs the bench, or the one that was named."""
    named = os.environ.get("MOEGATE_BENCH_COMMAND")
    command = Path(named) if named else Path(sys.executable).with_name("moegate")
    if not command.is_file():
        message = "no moegate command in this environment (make install)"
        raise UnavailableError(message)
    return command


def start(
    place: Place,
    name: str,
    policies: str,
    settings: str,
    secret: str | None,
    *,
    declared: Sequence[str] = (),
    model: str = "",
) -> Target:
    """Start a gateway with its first part of the configuration filled in, and these policies and keys.

    A secret of nothing is made and kept in the database; none at all lets anybody call.
    """
    command, port = moegate_command(), free_port()
    config = place.folder / "moegate.yaml"
    replicas = "\n".join(REPLICA.format(number=number, url=url) for number, url in enumerate(place.urls))
    anonymous = "true" if secret is None else "false"
    first = CONFIG.format(port=port, folder=place.folder, replicas=replicas, anonymous=anonymous, model=model)
    config.write_text(first + policies)
    if declared:
        declare_keys(command, config, declared)
    elif secret == "":
        secret = stored_key(command, config)
    words = [str(command), "serve", "--config", str(config), "--log-level", "warning"]
    process, began_ns = launch(place, words, port, "/readyz")
    headers = () if not secret else (f"authorization: Bearer {secret}",)
    url = f"http://127.0.0.1:{port}"
    return Target(name, url, process.pid, "working tree", settings, headers, process=process, launched_ns=began_ns)


def stored_key(command: Path, config: Path) -> str:
    """Make a tenant with a key in the database."""
    for arguments in (["tenants", "create", "bench"], ["keys", "create", "bench", "--tenant", "bench"]):
        done = subprocess.run(
            [str(command), *arguments, "--config", str(config)],
            cwd=config.parent,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
    return done.stdout.strip()


def moegate(place: Place) -> Target:
    """Start moegate with keys, concurrency limit, routing and metrics."""
    secret = f"mg-bench-{secrets.token_urlsafe(24)}"
    settings = "api_keys, concurrency_limit, context_fit, least_loaded, prometheus; 1 process"
    return start(place, "moegate", USUAL.format(secret=secret), settings, secret)


def moegate_bare(place: Place) -> Target:
    """Start moegate for anybody, with routing and metrics and nothing else."""
    return start(place, "moegate-bare", BARE, "anonymous, context_fit, least_loaded, prometheus; 1 process", None)


def moegate_hedged(place: Place) -> Target:
    """Start moegate as for `moegate_bare`, with a second replica asked when the first one is late."""
    settings = "as moegate-bare, hedge: {enabled: true}"
    return start(place, "moegate-hedged", BARE, settings, None, model=HEDGED)


def moegate_unshipped(place: Place) -> Target:
    """Start moegate as for `moegate_governed`, but with the ledger's journal shipped once a minute, off a call's way as that is."""
    settings = "as moegate-governed, with the ledger shipped once a minute"
    policies = GOVERNED.replace("path: ledger}", "path: ledger, ship_seconds: 60}")
    return start(place, "moegate-unshipped", policies, settings, "")


def moegate_keyed(place: Place) -> Target:
    """Start moegate as `moegate_governed`, with many keys in SQL of which each call takes the next."""
    keys = place.folder / "keys"
    made = [generate_key() for _ in range(place.keys)]
    keys.write_text("\n".join(made))
    settings = f"as moegate-governed, {place.keys:,} keys"
    return replace(start(place, "moegate-keyed", GOVERNED, settings, "", declared=made), keys=keys)


def declare_keys(command: Path, config: Path, keys: Sequence[str]) -> None:
    """Put keys that were made here into the database, as `moegate tenants apply` does: what is kept of them alone."""
    parsed = [parts for key in keys if (parts := parse_key(key)) is not None]
    each = [f"{{name: k{n}, id: '{key.public_id}', sha256: '{key.digest.hex()}'}}" for n, key in enumerate(parsed)]
    declaration = config.with_name("tenants.yaml")
    lines = "\n".join(f"      - {key}" for key in each)
    declaration.write_text(f"tenants:\n  - name: bench\n    keys:\n{lines}\n")
    words = [str(command), "tenants", "apply", "--file", str(declaration), "--config", str(config)]
    done = subprocess.run(words, cwd=config.parent, capture_output=True, text=True, check=False, timeout=600)
    if done.returncode != 0:
        raise UnavailableError(f"keys could not be made: {done.stderr[-300:]}")


def moegate_governed(place: Place) -> Target:
    """Start moegate with keys in SQL, five limits, the ledger, routing and metrics."""
    settings = "tenants (SQLite), quotas with 5 limits, ledger, context_fit, least_loaded, prometheus; 1 process"
    return start(place, "moegate-governed", GOVERNED, settings, "")
