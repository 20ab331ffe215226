"""Shadow mode on two engines through a real gateway: both answer the same calls, and clients never know, whatever the copies do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.contracts.keys import generate_key
from tests.integration.asking import CHAT, DONE, chat, payloads
from tests.integration.configs import Json, config, model, replica
from tests.integration.conftest import client_for
from tests.integration.test_experiments import TOOLS
from tests.support.gateway_process import FORGETFUL, GatewayProcess, gateway_process, poll
from tests.support.scripted_engine.process import ScriptedEngine, scripted_engine

KEY = generate_key()
EXPERIMENTS = "/admin/v1/experiments"
NAMES = ("quiet", "both", "small")
GREEDY = {"temperature": 0}


@dataclass(frozen=True)
class Scene:
    """A gateway before two engines; `both` splits calls between them, the others leave them to the first. A key has one call."""

    gateway: GatewayProcess
    http: httpx.Client
    left: ScriptedEngine
    right: ScriptedEngine

    def ask(self, name: str = "quiet", **fields: Any) -> httpx.Response:
        answer = self.http.post(CHAT, json=chat(model=name, **fields))
        assert answer.status_code == 200, answer.text
        return answer

    def show(self, name: str = "quiet") -> Json:
        found: Json = self.http.get(f"{EXPERIMENTS}/{name}").json()
        return found

    def shadow(self, name: str = "quiet") -> Json:
        found: Json = self.show(name)["shadow"]
        return found

    def settle(self, name: str = "quiet") -> Json:
        """Wait until all copies are over, and compared."""

        def settled() -> bool:
            found = self.show(name)
            return bool(found["shadow"]["calls"] == sum(found["calls"].values()) + found["shadow"]["left"])

        poll(lambda: self.at_rest() and settled(), "all copies are over")
        return self.shadow(name)

    def after(self, calls: int, ask: Callable[[], object], name: str = "quiet") -> Json:
        """Ask so many times: the pairs that came of it, how many of them tell of success, and copies by what became of them."""
        before = self.settle(name)
        for _ in range(calls):
            ask()
            now = self.settle(name)
        counts = [
            {how: more for how, count in arm["copies"].items() if (more := count - was["copies"].get(how, 0))}
            for arm, was in zip(now["arms"], before["arms"], strict=True)
        ]
        told = [
            next(each["calls"] for each in shadow["comparisons"][0]["verdicts"] if each["endpoint"] == "success_rate")
            for shadow in (before, now)
        ]
        return {
            "copies": counts,
            "pairs": now["comparisons"][0]["pairs"] - before["comparisons"][0]["pairs"],
            "told": told[1] - told[0],
            "left": now["left"] - before["left"],
        }

    def at_rest(self) -> bool:
        return all(engine.state()["running"] == 0 for engine in (self.left, self.right))


def experiment(name: str, weight: float, **shadow: Any) -> Json:
    return {
        "name": name,
        "model": name,
        "unit": "call",
        "arms": [
            {"name": "left", "replicas": [f"left-{name}"]},
            {"name": "right", "replicas": [f"right-{name}"], "weight": weight},
        ],
        "shadow": {"share": 1, "total_seconds": 2, **shadow},
    }


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Three models on the same two engines."""
    folder = tmp_path_factory.mktemp("shadow")
    with scripted_engine(name="left") as left, scripted_engine(name="right") as right:
        settings = config(
            *(
                model(name, replica(f"left-{name}", left), replica(f"right-{name}", right), **FORGETFUL)
                for name in NAMES
            ),
            keys={"x": KEY},
            per_key=1,
        )
        settings["plugins"][0]["keys"][0]["scopes"] = ["inference", "admin:read"]
        shadows = [experiment("quiet", 0), experiment("both", 1), experiment("small", 0, max_concurrent=2)]
        settings["plugins"] += [
            {"use": "experiments", "experiments": shadows},
            {"use": "ledger", "path": str(folder / "ledger"), "ship_seconds": 0.05},
        ]
        settings["database"] = f"sqlite:///{folder / 'moegate.db'}"
        with gateway_process(settings, folder) as gateway, client_for(gateway, KEY) as http:
            poll(lambda: http.get("/readyz").is_success, "its experiments are known")
            yield Scene(gateway, http, left, right)


@pytest.fixture(autouse=True)
def fresh(scene: Scene) -> None:
    """Engines without a past, and no copy left of the test before."""
    for engine in (scene.left, scene.right):
        engine.reset()
    for name in NAMES:
        scene.settle(name)
    for engine in (scene.left, scene.right):
        engine.reset()


def copies_of(engine: ScriptedEngine) -> int:
    return sum("x-moegate-mirror" in dict(call["headers"]) for call in engine.calls())


@pytest.mark.parametrize("stream", [False, True])
def test_both_are_asked_the_same_and_the_client_gets_one_answer(scene: Scene, stream: bool) -> None:
    found = scene.after(5, lambda: scene.ask(stream=stream, **GREEDY))
    assert found == {"copies": [{"served": 5}, {"served": 5}], "pairs": 5, "told": 5, "left": 0}
    assert (copies_of(scene.left), len(scene.left.calls())) == (5, 10), "its own calls, and copies for its own noise"
    assert (copies_of(scene.right), len(scene.right.calls())) == (5, 5), "no call of a client's"
    assert scene.right.last_json()["messages"] == scene.left.last_json()["messages"]
    answer = scene.ask(stream=stream, **GREEDY)
    assert answer.headers["x-moegate-arm"] == "quiet=left"
    assert answer.headers["x-moegate-replica"] == "left-quiet"
    if stream:
        assert payloads(answer.content).count(DONE) == 1


def test_engines_that_say_the_same_are_said_to_and_other_ones_are_named(scene: Scene) -> None:
    scene.after(25, lambda: scene.ask(tools=TOOLS, **GREEDY))
    shadow = scene.shadow()
    comparison = shadow["comparisons"][0]
    assert comparison["greedy"]["alike"] == comparison["greedy"]["pairs"] >= 25
    assert comparison["prompts_differ"] == 0 < comparison["prompts"]
    assert shadow["null"]["greedy"]["alike"] == shadow["null"]["greedy"]["pairs"] >= 25
    scene.right.all_calls("wrong_prompt_tokens")
    scene.after(3, lambda: scene.ask(**GREEDY))
    assert scene.shadow()["comparisons"][0]["prompts_differ"] == 3, "its template is another"
    scene.left.all_calls("marker_leak")  # which the gateway mends
    scene.right.all_calls("invalid_arguments")
    scene.after(30, lambda: scene.ask(tools=TOOLS, stream=True, **GREEDY))
    comparison = scene.shadow()["comparisons"][0]
    verdicts = {each["endpoint"]: each for each in comparison["verdicts"]}
    assert (verdicts["schema_accuracy"]["verdict"], verdicts["schema_accuracy"]["effect"]) == ("inferior", -1.0)
    assert verdicts["greedy_agreement"]["verdict"] == "inferior"
    assert verdicts["finish_agreement"]["anytime"] is True
    assert verdicts["success_rate"]["noise"]["effect"] == 0
    assert comparison["greedy"]["mean_same_characters"] is not None


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("fault", "how"),
    [
        ("queue_full_503", "upstream_overloaded"),
        ("error_500", "upstream_broken"),
        ("midstream_cut", "upstream_broken"),
        ("garbage", "upstream_broken"),
        ("refuses", "upstream_unreachable"),
        ("first_byte_stall", "late"),
        ("slow", "late"),
    ],
)
def test_a_copy_that_goes_wrong_counts_for_its_arm_and_changes_nothing(
    scene: Scene, fault: str, how: str, stream: bool
) -> None:
    wanted = scene.ask(stream=stream).content
    scene.settle()
    scene.right.all_calls(fault)
    said: list[bytes] = []
    found = scene.after(2, lambda: said.append(scene.ask(stream=stream).content))
    assert [len(each) for each in said] == [len(wanted)] * 2
    assert found == {"copies": [{"served": 2}, {how: 2}], "pairs": 2, "told": 2, "left": 0}
    assert scene.gateway.metric("moegate_breaker_opened_total", replica="right-quiet") == 0


def test_each_arm_is_copied_to_the_other_in_a_split(scene: Scene) -> None:
    found = scene.after(20, lambda: scene.ask("both"), "both")
    assert found["pairs"] == 20
    served = scene.show("both")["calls"]
    assert served["left"] + served["right"] >= 20
    assert found["copies"][1] == {"served": served["left"]}
    assert found["copies"][0] == {"served": 2 * served["right"] + served["left"]}, "A and A' where B served, else A'"


def test_a_client_that_leaves_takes_its_copies_with_it(scene: Scene) -> None:
    scene.left.all_calls("slow")
    scene.right.all_calls("slow")

    def leave() -> None:
        with scene.http.stream("POST", CHAT, json=chat(model="quiet", stream=True)) as answer:
            pieces = answer.iter_raw()  # kept: without it the answer is closed
            next(pieces)
            scene.right.wait(running=1)

    found = scene.after(1, leave)
    assert found == {"copies": [{"client_left": 1}, {"client_left": 1}], "pairs": 0, "told": 0, "left": 1}
    scene.right.wait(running=0, aborted=1)


def test_what_would_be_too_much_is_not_copied(scene: Scene) -> None:
    scene.right.all_calls("first_byte_stall")
    scene.ask("small")
    scene.right.wait(running=1)
    scene.ask("small")
    scene.settle("small")
    copies = {arm["name"]: arm["copies"] for arm in scene.shadow("small")["arms"]}
    assert copies == {"left": {"served": 1, "copies": 1}, "right": {"late": 1, "copies": 1}}
    assert scene.shadow("small")["comparisons"][0]["pairs"] == 1, "all copies of a call, or none"


def test_no_limit_and_no_ledger_knows_of_copies(scene: Scene) -> None:
    """A key may have one call at a time, so each call above would have failed if its copies counted."""
    usage = scene.gateway.metric("moegate_calls_total")
    scene.after(3, scene.ask)
    assert scene.gateway.metric("moegate_calls_total") == usage + 3
    rows = sum(1 for file in Path(scene.gateway.folder / "ledger").rglob("*") if file.is_file())
    assert rows > 0


def test_the_commands_and_the_metrics_tell_of_it(scene: Scene) -> None:
    scene.after(1, lambda: scene.ask(**GREEDY))
    assert scene.gateway.metric("moegate_experiment_copies_total", experiment="quiet", arm="right", how="served") > 0
