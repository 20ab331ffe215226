"""Writes a launch plan the way a shell takes it, with secrets hidden; it runs nothing."""

from __future__ import annotations

import re
import shlex

from gateway import LaunchPlan

HIDDEN = "***"
# As whole words: `--api-key` and `HF_TOKEN` hold a secret, `--max-total-tokens` and `--tokenizer` do not.
_SECRET_WORDS = {"key", "apikey", "token", "secret", "password", "passwd", "credential", "credentials"}


def render(plan: LaunchPlan) -> str:
    """One command, an option a line: what the plan adds to the environment, and the exact arguments.

    Values of options and variables that are called like secrets are hidden, wherever they stand.
    """
    secrets = _secrets(plan)
    variables = [f"{name}={_hide(value, secrets)}" for name, value in sorted(plan.environment.items())]
    lines = [["env", *variables]] if variables else []
    for index, word in enumerate(plan.argv):
        # An option begins a line, and what follows it stands beside it.
        if index == 0 or word.startswith("-"):
            lines.append([])
        lines[-1].append(_hide(word, secrets))
    return " \\\n  ".join(shlex.join(line) for line in lines)


def _secrets(plan: LaunchPlan) -> list[str]:
    found = {value for name, value in plan.environment.items() if _is_secret(name)}
    for word, following in zip(plan.argv, (*plan.argv[1:], ""), strict=True):
        name, has_value, value = word.partition("=")
        if word.startswith("-") and _is_secret(name):
            found.add(value if has_value else following)
    return sorted((value for value in found if value), key=len, reverse=True)


def _is_secret(name: str) -> bool:
    return not _SECRET_WORDS.isdisjoint(re.split(r"[^a-z]+", name.lower()))


def _hide(text: str, secrets: list[str]) -> str:
    """A short secret might be a part of any word, so only those that cannot be are looked for inside of words."""
    if text in secrets:
        return HIDDEN
    for secret in secrets:
        if len(secret) >= 8:  # noqa: PLR2004 - see above
            text = text.replace(secret, HIDDEN)
        elif text.endswith(f"={secret}"):
            text = text.removesuffix(secret) + HIDDEN
    return text
