"""Runs in an engine's own environment: reads command lines from standard input and says what the engine's parser makes of each.

`python parsers.py vllm|sglang`, with a JSON list of argument lists; answers with a JSON list of `{"error", "unknown", "values"}`.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
from typing import Any


def vllm_parser() -> tuple[argparse.ArgumentParser, Any]:
    """What `vllm serve` parses with, and its check of the whole."""
    from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args  # noqa: PLC0415
    from vllm.utils.argparse_utils import FlexibleArgumentParser  # noqa: PLC0415

    return make_arg_parser(FlexibleArgumentParser()), validate_parsed_serve_args


def sglang_parser() -> tuple[argparse.ArgumentParser, Any]:
    """What `sglang.launch_server` parses with; its check of the whole wants the model and its GPUs."""
    from sglang.srt.server_args import ServerArgs  # noqa: PLC0415

    parser = argparse.ArgumentParser()
    ServerArgs.add_cli_args(parser)
    return parser, lambda _: None


def parsed(parser: argparse.ArgumentParser, check: Any, arguments: list[str]) -> dict[str, Any]:
    """What comes of one command line. An option that is only the beginning of another is unknown, though argparse takes it."""
    known = {option for action in parser._actions for option in action.option_strings}
    unknown = [word for word in arguments if word.startswith("--") and word.partition("=")[0] not in known]
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        try:
            values = parser.parse_args(arguments)
            check(values)
        except SystemExit:
            return {"error": said.getvalue().strip().splitlines()[-1:], "unknown": unknown, "values": {}}
        except (ValueError, TypeError) as error:
            return {"error": [str(error)], "unknown": unknown, "values": {}}
    return {"error": [], "unknown": unknown, "values": {name: str(value) for name, value in vars(values).items()}}


def main() -> None:
    """Answer on standard output, in the last line of it: engines print what they like before."""
    parser, check = {"vllm": vllm_parser, "sglang": sglang_parser}[sys.argv[1]]()
    answers = [parsed(parser, check, arguments) for arguments in json.load(sys.stdin)]
    sys.stdout.write("\n" + json.dumps(answers) + "\n")


if __name__ == "__main__":
    main()
