"""The ledger behind a real gateway: every call is in it, one that was refused too, a kill and a restart later."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import httpx

from gateway.contracts.keys import generate_key
from tests.integration.asking import CHAT, PROMPT, chat
from tests.integration.configs import config, model, replica
from tests.integration.conftest import assert_quiet_log, client_for
from tests.support.gateway_process import Json, gateway_process, moegate
from tests.support.scripted_engine.process import ScriptedEngine, scripted_engine

KEY = generate_key()


def settings_for(engine: ScriptedEngine) -> Json:
    settings = config(
        model("kimi-k2", replica("a", engine), prices={"input": 1, "output": 2, "currency": "EUR"}), keys={"acme": KEY}
    )
    settings["plugins"].append({"use": "ledger", "ship_seconds": 60})
    return settings


def usage(folder: Path, *arguments: str) -> Json:
    done = moegate("usage", "--config", "moegate.yaml", "--format", "json", *arguments, folder=folder)
    assert done.returncode == 0, done.stderr
    report: Json = json.loads(done.stdout[done.stdout.index("{") :])
    return report


def ask(http: httpx.Client) -> list[tuple[int, str]]:
    """Calls that end in different ways: status and call id of each."""
    answers = [http.post(CHAT, json=chat()) for _ in range(5)]
    answers += [http.post(CHAT, json=chat(stream=True)) for _ in range(3)]
    answers += [http.post(CHAT, json=chat(fault="refuse_400"))]
    return [(answer.status_code, answer.headers["x-moegate-call-id"]) for answer in answers]


def test_a_killed_gateway_s_calls_are_all_in_the_ledger_once(tmp_path: Path) -> None:
    with scripted_engine(name="a") as engine:
        with gateway_process(settings_for(engine), tmp_path) as first:
            with client_for(first, KEY) as http:
                told = ask(http)
            first.process.kill()
            first.wait_exit()
            first.stop = lambda: 0  # type: ignore[method-assign]  # it cannot be asked any more
        journal = tmp_path / ".moegate" / "ledger"
        assert len(list(journal.glob("*/*.journal"))) == 1
        assert not any(PROMPT.encode() in file.read_bytes() for file in journal.glob("*/*.journal"))
        with gateway_process(settings_for(engine), tmp_path) as second:
            second.wait_log("took over a journal")
            with client_for(second, KEY) as http:
                told += ask(http)
            log = second.log
    assert_quiet_log(log, KEY)
    report = usage(tmp_path, "--by", "status_code,tenant,streamed")
    found = {(line["status_code"], line["streamed"]): line for line in report["lines"]}
    calls = Counter[str]()
    for (status, _), line in found.items():
        calls[status] += line["calls"]
    assert calls == Counter(str(status) for status, _ in told)
    assert report["totals"][0]["calls"] == len(told) == len({call_id for _, call_id in told})
    assert {line["tenant"] for line in report["lines"]} == {"acme"}
    assert found["200", "true"]["calls"] == 6
    assert found["200", "false"]["total_tokens"] > 0
    assert (report["totals"][0]["currency"], report["notes"]) == ("EUR", [])
    # Daily sums and single calls are two ways to the same.
    assert usage(tmp_path)["totals"] == report["totals"]
