"""The four proofs: engines that are alike, an engine and itself, a quantised one, and arms with one thing wrong; each a table."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from plugins.experiments.statistics.verdict import Verdict
from tests.engines.compare.sabotage import Fault, sabotaged
from tests.engines.compare.scene import Compared, scene, vllm_at
from tests.engines.conformance.live_engines import installed, lab_replica
from tests.engines.verify.lab_engines import Case
from tests.engines.verify.variants import K2_TINY
from tests.engines.vllm_process import FLAGS, vllm_server

# In margins that 96 pairs can show: rates to ten points, what an engine says to fifteen.
ALIKE = (
    "equivalent:schema_accuracy@0.1",
    "equivalent:tool_call_f1@0.1",
    "equivalent:success_rate@0.05",
    "not_inferior:greedy_agreement@0.15",
    "equivalent:clean_rate@0.05",
)
WRONG_TEMPLATE = (
    "{%- for message in messages -%}<|im_system|>{{ message.role }}<|im_middle|>{{ message.content }}<|im_end|>"
    "{%- endfor -%}<|im_assistant|>assistant<|im_middle|>"
)
PARSER_FLAGS = re.compile(r"--enable-auto-tool-choice |--tool-call-parser=kimi_k2 ")


@dataclass
class Sizes:
    """How much is asked: tool calls, and as many sums, of each arm in one comparison; and how many runs of A against A."""

    alike: int = 48
    itself: int = 16
    runs: int = 20
    sabotage: int = 40
    dropped: int = 64


@dataclass
class Table:
    """One proof's: lines of Markdown, and what was not as it should be."""

    title: str
    text: str
    rows: list[str]
    problems: list[str] = field(default_factory=list)

    def expect(self, holds: bool, otherwise: str) -> None:
        """Something that must be true."""
        if not holds:
            self.problems.append(otherwise)

    @property
    def page(self) -> str:
        """As Markdown."""
        wrong = [f"- **Not as it should be:** {each}" for each in self.problems]
        return "\n".join(["", f"## {self.title}", self.text, "", *self.rows, *([""] if wrong else []), *wrong, ""])


@dataclass
class Stage:
    """What all proofs are made with: a vLLM that runs, a folder, sizes."""

    vllm: str
    folder: Path
    sizes: Sizes
    say: Callable[[str], None]


def alike(stage: Stage, others: tuple[str, ...] = ("sglang", "torch_reference")) -> Table:
    """vLLM and other engines, with the same weights."""
    table = Table(
        "Engines that are alike",
        f"{2 * stage.sizes.alike} pairs each; B against A. Required: {', '.join(ALIKE)}.",
        [
            "| A | B | endpoint | verdict | effect | interval | margin | pairs |",
            "|---|---|---|---|---:|---:|---:|---:|",
        ],
    )
    for other in others:
        installed(other)
        with scene(stage.folder / other, {"vllm": vllm_at(stage.vllm), other: lab_replica(other)}) as made:
            found = made.compare("vllm", other, each=stage.sizes.alike, requires=ALIKE)
        for met in found.summary.requirements:
            endpoint = met.requirement.partition(":")[2].partition("@")[0]
            table.rows.append(f"| vllm | {other} | `{endpoint}` | {_figures(found.verdict(endpoint))} |")
            table.expect(met.met, f"{other}: {met.requirement}: {met.says}")
        stage.say(table.rows[-1])
    return table


def itself(stage: Stage) -> Table:
    """vLLM by two names."""
    sizes = stage.sizes
    named, near, judged = Counter[str](), Counter[str](), 0
    with scene(stage.folder / "itself", {name: vllm_at(stage.vllm) for name in ("vllm", "again")}) as made:
        for seed in range(1, sizes.runs + 1):
            found = made.compare("vllm", "again", each=sizes.itself, seed=seed)
            judged += len(found.summary.verdicts)
            named.update(found.named)
            near.update(found.near())
            stage.say(f"A against A, {seed}: named {list(found.named)}, near {found.near()}")
    which = ", ".join(f"`{name}` {count}" for name, count in near.items()) or "none"
    table = Table(
        "An engine and itself",
        f"One vLLM by two names; {sizes.runs} runs with seeds of their own, {2 * sizes.itself} pairs each. "
        "Near: not said to differ, though the interval leaves out no effect.",
        [
            "| runs | verdicts | that say they differ | near | near which |",
            "|---:|---:|---:|---:|---|",
            f"| {sizes.runs} | {judged} | {named.total()} | {near.total()} | {which} |",
        ],
    )
    table.expect(not named, f"said to differ from itself: {dict(named)}")
    return table


def quantised(stage: Stage) -> Table:
    """vLLM in float32 against KTransformers with its experts as they are, and in four bits."""
    table = Table(
        "A quantised engine",
        "What k2-tiny has learned no answer to: of all else it is so sure that little is lost. `alike`: pairs that say the "
        "same; `same`: of the others, how many characters they begin with alike (median).",
        ["| B | endpoint | verdict | effect | interval | margin | pairs | alike | same |",
         "|---|---|---|---:|---:|---:|---:|---:|---:|"],
    )  # fmt: skip
    weights = {
        "BF16": Case("ktransformers"),
        "RAWINT4": Case("ktransformers", target="ktransformers-rawint4", method="RAWINT4"),
    }
    alike_by = {}
    for name, case in weights.items():
        installed(case.engine)
        arms = {"vllm": vllm_at(stage.vllm), "ktransformers": case.replica(stage.folder)}
        with scene(stage.folder / f"kt {name}", arms) as made:
            found = made.compare("vllm", "ktransformers")
        greedy = found.summary.greedy
        alike_by[name] = greedy.alike
        figures = _figures(found.verdict("greedy_agreement"))
        said = f"{greedy.alike} | {greedy.median_same_characters}"
        table.rows.append(f"| KTransformers, {name} | `greedy_agreement` | {figures} | {said} |")
        stage.say(table.rows[-1])
    table.expect("greedy_agreement" in found.named, "the loss is not named by greedy_agreement")
    table.expect(alike_by["RAWINT4"] < alike_by["BF16"], "four bits are no farther from vLLM than BF16")
    return table


@dataclass(frozen=True)
class Sabotage:
    """One thing that is wrong with an arm, which endpoint tells, and within how many pairs.

    Attributes:
        size: which of the sizes is asked; none asks what the model is not sure of.
    """

    what: str
    endpoint: str
    within: int
    arm: Callable[[Stage, ExitStack], str]
    size: str | None = "sabotage"


def behind(fault: Fault) -> Callable[[Stage, ExitStack], str]:
    """The vLLM behind a step that does that."""
    return lambda stage, stack: stack.enter_context(sabotaged(stage.vllm, fault))


def another_template(stage: Stage, stack: ExitStack) -> str:
    """A vLLM with a template that declares no tools and calls users systems."""
    file = stage.folder / "wrong.jinja"
    file.write_text(WRONG_TEMPLATE)
    return _another(stage, stack, "template", f"--chat-template={file}")


def no_parser(stage: Stage, stack: ExitStack) -> str:
    """A vLLM that was started without its tool parser."""
    return _another(stage, stack, "no-parser", usual=PARSER_FLAGS.sub("", FLAGS))


def _another(stage: Stage, stack: ExitStack, name: str, *flags: str, usual: str = FLAGS) -> str:
    folder = stage.folder / name
    folder.mkdir(parents=True)
    return stack.enter_context(vllm_server(K2_TINY, folder, flags=flags, usual=usual)).url


SABOTAGES: dict[str, Sabotage] = {
    "template": Sabotage("a wrong chat template (`--chat-template`)", "greedy_agreement", 40, another_template),
    "temperature": Sabotage(
        "temperature 1.0, whatever the call says", "greedy_agreement", 40, behind(Fault(temperature=1.0)), None
    ),
    "parser": Sabotage("tool parser off: vLLM refuses calls with tools", "success_rate", 40, no_parser),
    "dropped": Sabotage("5 % of calls cut off after a first piece", "success_rate", 128, behind(Fault(cut_every=20)), "dropped"),
    "pace": Sabotage("30 ms more for each event", "time_per_output_token_p50", 80, behind(Fault(event_seconds=0.03))),
}  # fmt: skip


def sabotages(stage: Stage, names: tuple[str, ...] = tuple(SABOTAGES)) -> Table:
    """vLLM, and vLLM with one thing wrong."""
    table = Table(
        "Arms with one thing wrong",
        f"Pairs in steps of five, in the order in which they were answered; `after` is where the endpoint was named for good. "
        f"{2 * stage.sizes.sabotage} pairs each, {2 * stage.sizes.dropped} for the calls that are dropped; temperature is asked "
        "what k2-tiny has learned no answer to: of all else it is so sure that 1.0 changes next to nothing.",
        ["| what is wrong with B | named by | after | within | effect | interval | margin | pairs | also named |",
         "|---|---|---:|---:|---:|---:|---:|---:|---|"],
    )  # fmt: skip
    for name in names:
        each = SABOTAGES[name]
        with _arms(stage, each, name) as compare:
            found = compare(getattr(stage.sizes, each.size) if each.size else 0)
        after = found.named_after(each.endpoint)
        also = ", ".join(f"`{other}`" for other in found.named if other != each.endpoint)
        figures = _figures(found.verdict(each.endpoint)).partition(" | ")[2]
        table.rows.append(f"| {each.what} | `{each.endpoint}` | {after} | {each.within} | {figures} | {also} |")
        named = after is not None and after <= each.within
        table.expect(
            named, f"{each.what}: {each.endpoint} after {after}, not within {each.within}: {list(found.named)}"
        )
        stage.say(table.rows[-1])
    return table


@contextmanager
def _arms(stage: Stage, each: Sabotage, name: str) -> Iterator[Callable[[int], Compared]]:
    with ExitStack() as stack:
        arms = {"vllm": vllm_at(stage.vllm), name: vllm_at(each.arm(stage, stack))}
        made = stack.enter_context(scene(stage.folder / f"sabotage {name}", arms))
        yield lambda calls: made.compare("vllm", name, each=calls)


def _figures(found: Verdict) -> str:
    """Verdict, effect, interval, margin, pairs."""
    shown = [f"{figure:.3f}" if figure is not None else "none" for figure in (found.effect, found.lower, found.upper)]
    return f"{found.verdict} | {shown[0]} | {shown[1]} to {shown[2]} | {found.margin:g} | {found.calls}"
