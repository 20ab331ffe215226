"""Runs every rule against every workload and prints the table; with `--out`, writes it there with a plot.

Run it with `make simulate ARGS="[--seeds 3] [--out FOLDER]"`. It takes a minute or two and no network.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.simulator.comparing import compare, page
from tests.simulator.plot import draw


def say(text: str) -> None:
    """Show progress on stderr, so that stdout is the page alone."""
    sys.stderr.write(f"[simulator] {text}\n")


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="simulator", description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="runs of each, of which the median is shown (%(default)s)")
    parser.add_argument("--out", type=Path, help="write README.md and first-event.svg there")
    options = parser.parse_args()
    rows = compare(range(1, options.seeds + 1), say)
    text = page(rows, options.seeds)
    if options.out is None:
        sys.stdout.write(text)
        return
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "README.md").write_text(text)
    (options.out / "first-event.svg").write_text(draw(rows))


if __name__ == "__main__":
    main()
