"""Shows what prefix-aware routing finds in the caches of two real vLLMs, by their own counters, beside other rules.

Run it with `make prove-prefix ARGS="[--seeds 2] [--out FILE]"`. It exits with 1 if we find no more than round robin does.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from tests.engines.prefix.proof import EACH, SYSTEMS, TURNS, Found, Proof
from tests.engines.prefix.scene import LISTS, PRECISE, engines

OURS, THEIRS = "the default list", "round_robin"
ROOM_TOKENS, TIGHT_TOKENS = 32_768, 8_192

INTRODUCTION = f"""# Prefixes, live

Two vLLM 0.32 on a CPU with the weights of `deploy/lab/k2-tiny`, one gateway process before them. {SYSTEMS * EACH} conversations of
{TURNS} turns, {EACH} after each of {SYSTEMS} system prompts; which goes on next is drawn by chance, four calls at a time. Found in
caches: the engines' own `vllm:prefix_cache_hits_total` over `vllm:prefix_cache_queries_total`, in tokens, both engines
together; in brackets each by itself. Made by `make prove-prefix ARGS="--out tests/engines/prefix/results/README.md"`; the seeds
draw texts and order, the engines' speed decides the rest, so figures differ a little from run to run.

- Tokens found are the result. Seconds come from two engines on two cores that other work shared: compare them, no more.
- vLLM has no prefix cache for MLA on a CPU; with `VLLM_MLA_DISABLE=1` it reads the same weights as plain heads.
"""
HEAD = (
    "| routing | seed | found in caches | calls' prompt tokens, a and b | TTFT p50 s | TTFT p95 s |",
    "|---|---:|---:|---:|---:|---:|",
)


def say(text: str) -> None:
    """Show progress on stderr."""
    sys.stderr.write(f"[prefix] {text}\n")
    sys.stderr.flush()


def row(name: str, seed: int, found: Found) -> str:
    """One run's."""
    each = ", ".join(
        f"{hits / asked:.0%}" if asked else "none"
        for asked, hits in zip(found.counts.asked, found.counts.found, strict=True)
    )
    asked = ", ".join(f"{tokens:,.0f}" for tokens in found.counts.asked)
    times = f"{found.times.quantile(0.5):.2f} | {found.times.quantile(0.95):.2f}"
    return f"| {name} | {seed} | {found.counts.hit_share:.1%} ({each}) | {asked} | {times} |"


class Page:
    """The tables, as they are made."""

    def __init__(self, seeds: Iterable[int]) -> None:
        self._seeds = tuple(seeds)
        self.text = INTRODUCTION

    def table(self, title: str, text: str, names: Sequence[str], run: Callable[[str, int], Found]) -> dict[str, float]:
        """Run each list with each seed; by list, what share was found at least."""
        rows, shares = [], {}
        for name in names:
            found = []
            for seed in self._seeds:
                found.append(run(name, seed))
                rows.append(row(name, seed, found[-1]))
                say(f"{title}: {rows[-1]}")
            shares[name] = min(each.counts.hit_share for each in found)
        self.text += "\n".join(["", f"## {title}", text, "", *HEAD, *rows, ""])
        return shares


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="prefix", description=__doc__)
    parser.add_argument("--seeds", type=int, default=2, help="runs of each (%(default)s)")
    parser.add_argument("--out", type=Path, help="write the page there")
    options = parser.parse_args()
    page = Page(range(1, options.seeds + 1))
    both = (OURS, PRECISE)
    with tempfile.TemporaryDirectory() as folder:
        with engines(Path(folder, "room"), ROOM_TOKENS) as pair:
            proof = Proof(pair, Path(folder, "room"))
            text = "From empty caches, which have room for nearly all."
            shares = page.table("All turns", text, [*LISTS, PRECISE], proof.whole)
            text = "The last two turns, after one engine's cache was emptied (`/reset_prefix_cache`) and no gateway was told."
            page.table("A cache is emptied", text, both, proof.forgotten)
            text = "The last two turns through a new gateway process: what the engines hold it did not send there."
            page.table("A gateway is restarted", text, both, proof.restarted)
        with engines(Path(folder, "tight"), TIGHT_TOKENS) as pair:
            proof = Proof(pair, Path(folder, "tight"))
            text = "All turns; the caches have no room for all, and evict what was not used for longest."
            page.table("Tight caches", text, (THEIRS, *both), proof.whole)
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(page.text)
    sys.stdout.write(page.text)
    sys.exit(shares[OURS] <= shares[THEIRS])


if __name__ == "__main__":
    main()
