"""Arms for the proof: a gateway before real engines, comparisons of two of them, and after how many calls one was named."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from plugins.experiments.compare.endpoints import find
from plugins.experiments.compare.observed import Observed
from plugins.experiments.compare.requirements import parse_requirement
from plugins.experiments.compare.summary import Summary, summarise
from plugins.experiments.statistics.verdict import Verdict
from tests.engines.compare.asking import Json, asked, calls, unsure_calls
from tests.engines.conformance.live_engines import START_SECONDS, STOP_SECONDS, config
from tests.support.gateway_process import FORGETFUL, GatewayProcess, gateway_process, poll

MODEL = "on-arms"
CONCURRENCY = 4
SAME = ("equivalent", "not inferior", "undecided")
STEP = 5


@dataclass(frozen=True)
class Compared:
    """A comparison that was run."""

    summary: Summary
    observed: Observed

    @property
    def named(self) -> dict[str, Verdict]:
        """The endpoints in which B is said to differ from A."""
        return {each.endpoint: each for each in self.summary.verdicts if each.verdict not in SAME}

    def verdict(self, endpoint: str) -> Verdict:
        """One endpoint's."""
        return next(each for each in self.summary.verdicts if each.endpoint == endpoint)

    def near(self) -> list[str]:
        """Endpoints that are not said to differ, but whose interval lies wholly on one side of no effect."""
        found = []
        for each in self.summary.verdicts:
            none = 1.0 if each.scale == "ratio" else 0.0
            if each.endpoint not in self.named and each.lower is not None and each.upper is not None:
                found += [each.endpoint] if each.lower > none or each.upper < none else []
        return found

    def named_after(self, endpoint: str) -> int | None:
        """How many pairs of calls, in the order in which they were answered, are enough to name an endpoint for good."""
        asks = list(self.observed.seen)
        first = None
        for count in range(2 * STEP, len(asks) + 1, 2 * STEP):
            seen = {ask: self.observed.seen[ask] for ask in asks[:count]}
            verdict = find(Observed(seen=seen, gaps=self.observed.gaps)).verdict(endpoint)
            first = None if verdict.verdict in SAME else first or count // 2
        return first


@dataclass
class Scene:
    """A gateway before arms, each to be pinned by its name."""

    gateway: GatewayProcess
    folder: Path

    def compare(
        self, a: str, b: str, *options: str, each: int = 0, requires: tuple[str, ...] = (), seed: int = 7
    ) -> Compared:
        """Ask both arms so many tool calls and as many sums, or with 0 what the model is not sure of; and judge."""
        out = self.folder / f"{a}-{b}-{seed}"
        file = self.folder / f"calls-{each}.jsonl"
        data = calls(file, each) if each else unsure_calls(file)
        asked(
            self.gateway.url, MODEL, (f"replica={a}", f"replica={b}"), data, out,
            "--seed", str(seed), "--concurrency", str(CONCURRENCY), *options,
        )  # fmt: skip
        return Compared(*summarise(out, [parse_requirement(text) for text in requires]))


def vllm_at(url: str) -> Json:
    """A vLLM that runs already."""
    return {"backend": "vllm", "url": url, "served_model": "kimi-k2", "max_concurrent": 16}


@contextmanager
def scene(folder: Path, arms: Mapping[str, Json]) -> Iterator[Scene]:
    """These arms, ready; what the gateway started ends with the block."""
    folder.mkdir(parents=True, exist_ok=True)
    first, *others = ({**replica, "name": name} for name, replica in arms.items())
    settings = config({"arms": first})
    settings["models"][0]["replicas"] += others
    settings["models"][0] |= FORGETFUL
    settings["policies"]["routing"] = [{"use": "pin"}, {"use": "context_fit"}]
    settings["plugins"][0]["keys"][0]["scopes"] = ["inference", "pin", "admin:read"]
    settings["plugins"].append({"use": "replicas"})
    with gateway_process(settings, folder, ready_path="/healthz") as gateway:
        poll(gateway.at_rest, f"{', '.join(arms)} are ready:\n{gateway.log[-3000:]}", START_SECONDS)
        yield Scene(gateway, folder)
        gateway.send_signal(signal.SIGTERM)
        assert gateway.wait_exit(STOP_SECONDS) == 0, f"the gateway ended badly:\n{gateway.log[-4000:]}"
