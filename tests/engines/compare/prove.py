"""`make prove-compare`: shows on real engines what `moegate compare` says of backends that are alike, and of some that are not.

It exits with 1 if anything was not as it should be.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.engines.compare.proofs import Sizes, Stage, Table, alike, itself, quantised, sabotages
from tests.engines.verify.variants import K2_TINY
from tests.engines.vllm_process import vllm_server

PROOFS = {"alike": alike, "itself": itself, "quantised": quantised, "sabotages": sabotages}
INTRODUCTION = """# Compared, on real engines

Engines on a CPU with the weights of `deploy/lab/k2-tiny`, a gateway process before them, and `moegate compare` with greedy
calls: half of them tool calls, half sums. A is vLLM 0.32 in float32. Effects of rates are differences, of latencies ratios.
Made by `make prove-compare ARGS="{arguments}"`; other work shared the machine's two cores, so compare times within a run only.
"""


def say(text: str) -> None:
    """Tell how far it is."""
    sys.stderr.write(f"[compare] {text}\n")
    sys.stderr.flush()


def main() -> None:
    """Run from the command line."""
    usual = Sizes()
    parser = argparse.ArgumentParser(prog="make prove-compare", description=__doc__)
    parser.add_argument(
        "--only", nargs="+", choices=PROOFS, default=list(PROOFS), metavar="PROOF", help=", ".join(PROOFS)
    )
    for name, size in vars(usual).items():
        parser.add_argument(f"--{name}", type=int, default=size, help="see Sizes (%(default)s)")
    parser.add_argument("--out", type=Path, help="write the page there")
    options = parser.parse_args()
    sizes = Sizes(**{name: getattr(options, name) for name in vars(usual)})
    tables: list[Table] = []
    with tempfile.TemporaryDirectory(prefix="moegate-compare-") as place, vllm_server(K2_TINY, Path(place)) as vllm:
        stage = Stage(vllm.url, Path(place), sizes, say)
        for name in options.only:
            tables.append(PROOFS[name](stage))
            page = INTRODUCTION.format(arguments=" ".join(sys.argv[1:])) + "".join(each.page for each in tables)
            if options.out is not None:  # what is shown stays, whatever comes after it
                options.out.parent.mkdir(parents=True, exist_ok=True)
                options.out.write_text(page)
    sys.stdout.write(page)
    sys.exit(any(each.problems for each in tables))


if __name__ == "__main__":
    main()
