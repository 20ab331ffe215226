"""The engine's command line: reads arguments, loads the checkpoint, serves until told to stop; it must not hold logic."""

import argparse
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

# Before transformers is imported: it must not look for anything outside this machine, nor draw progress bars.
os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}

from backends.torch_reference.engine.checkpoint import read_checkpoint
from backends.torch_reference.engine.errors import StartError
from backends.torch_reference.engine.process import bind, run


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(prog="torch_reference", description="moegate's reference engine")
    parser.add_argument("--model", type=Path, required=True, metavar="DIR", help="folder of the checkpoint")
    parser.add_argument("--served-model-name", required=True, metavar="NAME", help="the name clients use")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=_number(0, 65535), required=True, help="0 takes a free one")
    parser.add_argument("--max-concurrent", type=_number(1, 4096), default=4, help="sequences that run at once")
    parser.add_argument("--max-waiting", type=_number(0, 100_000), default=64, help="sequences that may wait")
    parser.add_argument(
        "--context-length", type=_number(1, 10_000_000), help="at most, and by default, the model's own"
    )
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--threads", type=_number(1, 1024), default=1, help="of torch; 1 is fastest for small models")
    parser.add_argument("--grace-seconds", type=_number(0, 3600), default=20, help="for running requests at the end")
    return parser.parse_args(arguments)


def _number(smallest: int, largest: int) -> Callable[[str], int]:
    """Return an argument type: a whole number within bounds."""

    def number(text: str) -> int:
        value = int(text)
        if not smallest <= value <= largest:
            msg = f"must be between {smallest} and {largest}"
            raise argparse.ArgumentTypeError(msg)
        return value

    return number


def main() -> int:
    """Serve; return the exit status."""
    arguments = parse_arguments()
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    try:
        # What can be refused at once comes before what takes seconds.
        listener = bind(arguments.host, arguments.port)
        checkpoint = read_checkpoint(arguments.model)
        if (arguments.context_length or 0) > checkpoint.context_length:
            raise StartError(
                f"--context-length {arguments.context_length} is more than the model's own {checkpoint.context_length}"
            )
        # Here and not above: it imports torch.
        from backends.torch_reference.engine.assembly import assemble  # noqa: PLC0415

        return run(assemble(arguments, checkpoint), listener, grace_seconds=arguments.grace_seconds)
    except StartError as error:
        print(f"torch_reference: {error}", file=sys.stderr)  # noqa: T201 - the one line that says why
        return 1
    except KeyboardInterrupt:
        # While the model was loading; once it serves, the server handles signals.
        return 130


if __name__ == "__main__":
    sys.exit(main())
