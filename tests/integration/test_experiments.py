"""Live experiments on two engines through a real gateway: who gets which arm, what is told of it, and an arm that dies."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.asking import CHAT, chat, error_of
from tests.integration.configs import Json, model, replica
from tests.integration.conftest import assert_quiet_log, client_for
from tests.resilience.asking import Verdict
from tests.resilience.load import Load
from tests.resilience.scripted_stage import draw
from tests.support.gateway_process import FORGETFUL, GatewayProcess, gateway_process, moegate, poll, write_config
from tests.support.scripted_engine.process import ScriptedEngine, scripted_engine

VLLM = ("--dialect", "vllm")
EXPERIMENTS = "/admin/v1/experiments"
TENANTS = """\
tenants:
  - name: ops
    keys: [{name: admin, scopes: ["inference", "pin", "admin:read", "admin:write"]}]
"""
ARMS = [{"name": "left", "replicas": ["l*"]}, {"name": "right", "replicas": ["right"]}]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
]
WATCHED = {
    "name": "guarded",
    "model": "guarded",
    "arms": ARMS,
    "unit": "call",
    "guardrails": [{"watch": "error_ratio", "bound": 0.1, "minimum_calls": 20}],
}


@dataclass(frozen=True)
class Scene:
    """A gateway with two engines of its own, and a key that may do everything there."""

    gateway: GatewayProcess
    http: httpx.Client
    key: str
    left: ScriptedEngine
    right: ScriptedEngine
    settings: Json

    def command(self, *words: str, status: int = 0) -> str:
        """Run a command of moegate; what it prints."""
        environment = {"MOEGATE_URL": self.gateway.url, "MOEGATE_ADMIN_KEY": self.key}
        done = moegate(*words, folder=self.gateway.folder, environment=environment)
        assert done.returncode == status, done.stderr
        return done.stdout + done.stderr

    def ask(self, model: str = "split", headers: dict[str, str] | None = None, **fields: Any) -> httpx.Response:
        """Make a call; it must be answered."""
        answer = self.http.post(CHAT, json=chat(model=model, **fields), headers=headers)
        assert answer.status_code == 200, answer.text
        return answer

    def show(self, name: str) -> Json:
        """An experiment as the admin API has it."""
        answer = self.http.get(f"{EXPERIMENTS}/{name}")
        assert answer.status_code == 200, answer.text
        found: Json = answer.json()
        return found


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Three models on the same two engines, two of them with an experiment."""
    folder = tmp_path_factory.mktemp("experiments")
    with scripted_engine(*VLLM, name="left") as left, scripted_engine(*VLLM, name="right") as right:
        both = (replica("left", left, backend="vllm"), replica("right", right, backend="vllm"))
        settings: Json = {
            "database": f"sqlite:///{folder / 'moegate.db'}",
            "models": [
                model("split", *both, **FORGETFUL),
                model("guarded", *(each | {"name": f"{each['name']}-g"} for each in both), **FORGETFUL),
                model("plain", *(each | {"name": f"{each['name']}-p"} for each in both), **FORGETFUL),
            ],
            "policies": {"routing": [{"use": "pin"}, {"use": "least_loaded"}]},
            "plugins": [
                {"use": "tenants"},
                {"use": "prometheus"},
                {"use": "decisions"},
                {"use": "ledger", "path": str(folder / "ledger"), "ship_seconds": 0.05},
                {
                    "use": "experiments",
                    "secret": "of all nodes",
                    "experiments": [
                        {"name": "trial", "model": "split", "arms": ARMS, "unit": "end_user"},
                        WATCHED
                        | {
                            "arms": [{"name": "left", "replicas": ["left*"]}, {"name": "right", "replicas": ["right*"]}]
                        },
                    ],
                },
            ],
        }
        write_config(folder / "moegate.yaml", settings, 1)
        (folder / "tenants.yaml").write_text(TENANTS)
        applied = moegate("tenants", "apply", "-f", "tenants.yaml", folder=folder)
        assert applied.returncode == 0, applied.stderr
        key = applied.stdout.strip().splitlines()[-1].rpartition(" ")[2]
        with gateway_process(settings, folder) as gateway, client_for(gateway, key) as http:
            poll(lambda: http.get(EXPERIMENTS).is_success, "it has read the keys")
            gateway.wait_at_rest()
            yield Scene(gateway, http, key, left, right, settings)
        assert_quiet_log(gateway.log, key)


def test_a_user_keeps_its_arm_and_everybody_is_told(scene: Scene) -> None:
    arms: dict[str, set[str]] = {}
    for user in [f"user-{number}" for number in range(24)] * 2:
        answer = scene.ask(user=user)
        arm = answer.headers["x-moegate-arm"]
        assert arm == f"trial={answer.headers['x-moegate-replica']}"
        arms.setdefault(user, set()).add(arm)
    assert all(len(each) == 1 for each in arms.values()), "sticky"
    assert {arm for each in arms.values() for arm in each} == {"trial=left", "trial=right"}
    told = scene.command("why", answer.headers["x-moegate-call-id"])
    assert f"{arm}, 50% of units" in told
    poll(
        lambda: all(
            arm in scene.command("usage", "--by", "arm", "--format", "csv") for arm in ("trial=left", "trial=right")
        ),
        "the ledger has both",
    )


def test_who_does_not_join(scene: Scene) -> None:
    skipped = scene.show("trial")["skipped"]
    assert "x-moegate-arm" not in scene.ask(model="plain", user="someone").headers
    assert "x-moegate-arm" not in scene.ask().headers, "it names no user"
    pinned = scene.ask(user="someone", headers={"x-moegate-pin": "replica=right"})
    assert "x-moegate-arm" not in pinned.headers
    assert pinned.headers["x-moegate-replica"] == "right"
    after = scene.show("trial")["skipped"]
    assert after == skipped | {"no_unit": skipped.get("no_unit", 0) + 1, "pinned": skipped.get("pinned", 0) + 1}


def checked(scene: Scene) -> int:
    """Answers of `trial` whose tool calls were held against their schemas."""
    return sum(arm["rates"].get("schema_accuracy", {"calls": 0})["calls"] for arm in scene.show("trial")["arms"])


def test_tool_calls_are_checked_off_the_call_s_way(scene: Scene) -> None:
    scene.left.all_calls("marker_leak")  # which the gateway mends
    scene.right.all_calls("invalid_arguments")
    for stream in (False, True):
        for number in range(20):
            scene.ask(user=f"caller-{number}", tools=TOOLS, stream=stream)
    scene.left.reset()
    scene.right.reset()
    poll(lambda: checked(scene) == 40, "all are counted")
    found = scene.show("trial")
    rates = {arm["name"]: arm["rates"]["schema_accuracy"]["value"] for arm in found["arms"]}
    assert rates == {"left": 1.0, "right": 0.0}
    mended = {arm["name"]: 1 - arm["rates"]["unmended_rate"]["value"] for arm in found["arms"]}
    assert mended["left"] > 0 == mended["right"]
    verdicts = {each["endpoint"]: each for each in found["comparisons"][0]["verdicts"]}
    assert verdicts["schema_accuracy"]["effect"] == -1.0
    assert verdicts["schema_accuracy"]["anytime"] is True
    assert verdicts["ttft_p50"]["calls"] > 0
    assert found["shares"]["mismatch"] is False


def test_the_commands(scene: Scene, tmp_path: Path) -> None:
    assert "trial" in scene.command("experiments", "list")
    assert "right against left" in scene.command("experiments", "show", "trial")
    report = tmp_path / "report.md"
    scene.command("experiments", "report", "trial", "--out", str(report))
    assert "| schema_accuracy |" in report.read_text()
    assert "There is no experiment 'tril'." in scene.command("experiments", "show", "tril", status=1)


def test_one_is_declared_stopped_and_still_stopped_after_a_restart(scene: Scene) -> None:
    declared = {"name": "second", "model": "plain", "unit": "call"}
    arms = [{"name": "a", "replicas": ["left-p"]}, {"name": "b", "replicas": ["right-p"], "weight": 3}]
    for body, reason in (
        (declared, "arms"),
        ({**declared, "arms": arms[:1] * 2}, "arms: two have one name"),
        ({**declared, "arms": [arms[0], {**arms[1], "replicas": ["none"]}]}, "b matches no replica of plain"),
        ({**declared, "arms": [arms[0], {**arms[1], "replicas": ["*-p"]}]}, "share the replica left-p"),
        ({**declared, "arms": arms, "model": "other"}, "there is no model 'other'"),
        ({**declared, "arms": arms, "weight": 1}, "weight"),
        ({**declared, "arms": arms, "end": "2026-01-01T00:00:00"}, "time zone"),
    ):
        assert reason in error_of(scene.http.post(EXPERIMENTS, json=body), 400, "invalid_experiment")["message"]
    assert scene.http.post(EXPERIMENTS, json={**declared, "arms": arms}).status_code == 201
    error_of(scene.http.post(EXPERIMENTS, json={**declared, "arms": arms}), 400, "invalid_experiment")
    seen = {scene.ask(model="plain").headers["x-moegate-arm"] for _ in range(24)}
    assert seen == {"second=a", "second=b"}
    assert "second is stopped" in scene.command("experiments", "stop", "second")
    assert "x-moegate-arm" not in scene.ask(model="plain").headers
    folder = scene.gateway.folder
    with gateway_process(scene.settings, folder) as other, client_for(other, scene.key) as http:
        poll(lambda: http.get("/readyz").is_success and http.get(EXPERIMENTS).is_success, "it has read all")
        states = {each["name"]: each["state"] for each in http.get(EXPERIMENTS).json()["data"]}
        assert states == {"trial": "running", "guarded": "running", "second": "stopped"}


def test_an_arm_that_dies_is_rolled_back_and_no_client_sees_it(scene: Scene) -> None:
    load = Load([scene.gateway.port], scene.key, draw, "guarded", 7, clients=6, calls=20, streams=0.0)

    async def trouble() -> None:
        while len(load.said) < 60:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.02)  # other clients are at work
        scene.right.kill()
        rolled_back = "moegate_experiment_rolled_back"
        async with asyncio.timeout(60):
            while not await asyncio.to_thread(scene.gateway.metric, rolled_back, arm="right"):  # noqa: ASYNC110 - in another process
                await asyncio.sleep(0.05)  # the service looks four times a second

    asyncio.run(load.run(trouble))
    assert load.count(Verdict.RIGHT) == len(load.said) > 60, load.codes
    found = scene.show("guarded")
    assert list(found["rolled_back"]) == ["right"]
    assert "guardrail error_ratio" in found["rolled_back"]["right"]
    right = found["arms"][1]
    assert right["state"] == "rolled_back"
    assert right["fell_back"] == sum(right["errors"].values()) > 0
    assert {scene.ask(model="guarded").headers["x-moegate-arm"] for _ in range(8)} == {"guarded=left"}
    assert "arm rolled back by its guardrail" in scene.gateway.log
