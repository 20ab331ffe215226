"""Calls for the lab's model, and `moegate compare` on them: what its tests and its proof on real engines share."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from tests.engines.conformance.live_engines import KEY
from tests.support.gateway_process import COMMAND

Json = dict[str, Any]
COMPARE_SECONDS = 1500.0
CITIES = "Oslo Rome Tokyo Paris Lima Cairo Delhi Quito Osaka Lyon Seoul Manila Warsaw Vienna Dublin Athens".split()  # noqa: SIM905 - words read best in a row
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = [{"type": "function", "function": {"name": "get_weather", "parameters": PARAMETERS}}]
ASKED = ("What is the weather in {}?", "How is the weather in {} today?", "Is it raining in {}?", "Weather in {}?")
MOST_EACH = len(ASKED) * len(CITIES)
# What k2-tiny has learned no answer to: of all else it is so sure that temperature 1 changes next to nothing.
UNSURE = ("Tell me about {}.", "Write a poem about {}.", "What do you like about {}?", "Who was born in {}?", "Why {}?")


def calls(file: Path, each: int = MOST_EACH) -> Path:
    """So many tool calls and as many sums, greedy; 64 of each at most."""
    bodies = [body(asked.format(city), tools=TOOLS) for asked in ASKED for city in CITIES][:each]
    bodies += [body(f"What is {first} + {second}?") for first in range(8) for second in range(8)][:each]
    file.write_text("".join(f"{json.dumps(one)}\n" for one in bodies))
    return file


def unsure_calls(file: Path) -> Path:
    """80 greedy calls whose answers hang on chance as soon as there is any."""
    bodies = [{**body(text.format(city)), "max_tokens": 24} for text in UNSURE for city in CITIES]
    file.write_text("".join(f"{json.dumps(one)}\n" for one in bodies))
    return file


def body(text: str, **more: Any) -> Json:
    """A chat call."""
    return {"messages": [{"role": "user", "content": text}], "temperature": 0, "max_tokens": 64, **more}


def moegate(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command of moegate to its end."""
    return subprocess.run(
        [COMMAND, *arguments],
        env={**os.environ, "MOEGATE_KEY": KEY},
        capture_output=True,
        text=True,
        timeout=COMPARE_SECONDS,
        check=False,
    )


def asked(url: str, model: str, arms: tuple[str, str], data: Path, out: Path, *options: str) -> None:
    """Ask both arms all calls."""
    where = ("--url", url, "--model", model, "--data", str(data), "--out", str(out))
    done = moegate("compare", "run", "--a", arms[0], "--b", arms[1], *where, *options)
    assert done.returncode == 0, done.stderr
