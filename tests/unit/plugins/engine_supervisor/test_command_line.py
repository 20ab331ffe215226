from __future__ import annotations

import shlex

from gateway import LaunchPlan
from plugins.engine_supervisor.command_line import HIDDEN, render

URL = "http://127.0.0.1:8031"


def rendered(*argv: str, **environment: str) -> str:
    return render(LaunchPlan(argv, environment, URL))


def words(text: str) -> list[str]:
    """As a shell reads it."""
    return shlex.split(text.replace("\\\n", " "))


def test_a_shell_reads_it_as_it_was() -> None:
    argv = ("/opt/python 3/bin/python", "-m", "server", "--name", "it's", "--json", '{"a": ["$HOME", "`x`"]}', "", "-x")
    text = rendered(*argv, B="two words", A="$(reboot)")
    assert words(text) == ["env", "A=$(reboot)", "B=two words", *argv]


def test_without_an_environment_it_begins_with_the_program() -> None:
    assert words(rendered("engine", "--port", "1")) == ["engine", "--port", "1"]


def test_an_option_a_line() -> None:
    assert rendered("engine", "serve", "--port", "1", "-v").splitlines() == ["engine serve \\", "  --port 1 \\", "  -v"]


def test_what_is_called_like_a_secret_is_hidden() -> None:
    text = rendered("engine", "--api-key", "hunter2", "--admin_password=pw", HF_TOKEN="tok", AWS_SECRET_ACCESS_KEY="s3")
    assert words(text) == [
        *("env", f"AWS_SECRET_ACCESS_KEY={HIDDEN}", f"HF_TOKEN={HIDDEN}"),
        *("engine", "--api-key", HIDDEN, f"--admin_password={HIDDEN}"),
    ]


def test_what_only_sounds_like_one_is_shown() -> None:
    argv = (
        "engine",
        "--max-total-tokens",
        "16384",
        "--tokenizer",
        "dir",
        "--enable-prompt-tokens-details",
        "--keyed=1",
    )
    assert words(rendered(*argv, TOKENIZERS_PARALLELISM="false")) == ["env", "TOKENIZERS_PARALLELISM=false", *argv]


def test_a_secret_is_hidden_wherever_else_it_stands() -> None:
    text = rendered("engine", "--config", '{"key": "long-secret"}', "long-secret", ENGINE_KEY="long-secret")
    assert "long-secret" not in text


def test_a_short_secret_does_not_blot_out_what_happens_to_hold_it() -> None:
    text = rendered("engine", "--api-key", "1", "--port", "8031", "--value=1")
    assert words(text) == ["engine", "--api-key", HIDDEN, "--port", "8031", f"--value={HIDDEN}"]


def test_an_option_for_a_secret_without_one_harms_nothing() -> None:
    assert words(rendered("engine", "--api-key")) == ["engine", "--api-key"]
    assert words(rendered("engine", "--api-key=", "x")) == ["engine", "--api-key=", "x"]
