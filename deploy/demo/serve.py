"""The demo: makes a key on first start, serves deploy/demo/moegate.yaml, and says how to call it once an engine is ready."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sys
import time
from pathlib import Path

from gateway.app import PortTaken
from gateway.cli import logs
from gateway.cli.serve import run
from gateway.composition.runtime import Runtime
from gateway.errors import ConfigError
from plugins.api_keys.commands import key_in

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
KEY_FILE = ROOT / ".moegate" / "demo.key"
KEY_VARIABLE = "MOEGATE_DEMO_KEY"
PROGRESS_SECONDS = 3.0
LOOK_SECONDS = 0.2

BANNER = """
moegate is ready.

  URL        http://{host}:{port}/v1
  demo key   {key}

  curl http://{host}:{port}/v1/chat/completions -H "Authorization: Bearer {key}" \\
    -H "Content-Type: application/json" \\
    -d '{{"model": "kimi-k2", "messages": [{{"role": "user", "content": "What is 3 + 4?"}}]}}'

  from openai import OpenAI
  client = OpenAI(base_url="http://{host}:{port}/v1", api_key="{key}")
  print(client.chat.completions.create(model="kimi-k2", messages={messages}).choices[0].message.content)

Ctrl-C stops the gateway and the engine that it started.
"""

HELLO = '[{"role": "user", "content": "Hello!"}]'


def main() -> int:
    """Parse the command line and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8080)
    port: int = parser.parse_args().port
    os.chdir(ROOT)
    os.environ[KEY_VARIABLE] = os.environ.get(KEY_VARIABLE) or key_in(KEY_FILE)
    logs.configure(logs.Format.TEXT, logs.Level.WARNING)
    say(f"moegate: starting on 127.0.0.1:{port}")

    async def greet(runtime: Runtime) -> None:
        await until_ready(runtime)
        host = runtime.settings.server.host
        say(BANNER.format(host=host, port=port, key=os.environ[KEY_VARIABLE], messages=HELLO))

    try:
        run(HERE / "moegate.yaml", port=port, on_serving=greet)
    except ConfigError as error:
        for problem in error.problems:
            say(f"moegate: {problem}")
        return 2
    except PortTaken as error:
        say(f"moegate: {error.message}. Choose another with `make serve PORT=…`, or stop what listens there.")
        return 1
    say("moegate: stopped")
    return 0


async def until_ready(runtime: Runtime) -> None:
    """Wait for the first replica, and show what the others wait for."""
    started = shown = time.monotonic()
    while len(waiting := runtime.fleet.not_ready()) == len(runtime.fleet.pools):
        if time.monotonic() - shown > PROGRESS_SECONDS:
            shown = time.monotonic()
            reasons = "; ".join(reason for reasons in waiting.values() for reason in reasons)
            say(f"  {shown - started:3.0f} s  {reasons}")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_SECONDS):
                await runtime.fleet.wait_for_change()


def say(text: str) -> None:
    """Write to standard output at once, also when it is a pipe."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
