"""`--require WORD:ENDPOINT@MARGIN`: what a comparison must show to end with status 0, for a CI gate."""

from __future__ import annotations

import difflib
import re

from msgspec import Struct

from gateway.errors import ConfigError
from plugins.experiments.compare.endpoints import ENDPOINTS, Findings
from plugins.experiments.statistics.checking import InvalidSample, check_margin

# Which verdicts meet what is asked for.
_MEETS = {
    "equivalent": ("equivalent",),
    "not_inferior": ("equivalent", "not inferior", "faster", "cheaper"),
    "faster": ("faster",),
}
_REQUIREMENT = re.compile(r"([a-z_-]+):([a-z0-9_]+)(?:@([0-9.eE+-]+))?")


class Requirement(Struct, frozen=True):
    """One of them; no margin is the endpoint's usual one."""

    text: str
    word: str
    endpoint: str
    margin: float | None


class Met(Struct, frozen=True):
    """Whether a requirement is met, and by which verdict."""

    requirement: str
    met: bool
    says: str


def parse_requirement(text: str) -> Requirement:
    """Read one.

    Raises:
        ConfigError: it cannot be read, or names no verdict or endpoint that there is; the message lists what there is.
    """
    found = _REQUIREMENT.fullmatch(text.strip())
    if found is None:
        raise ConfigError(f"--require: {text!r} is not WORD:ENDPOINT or WORD:ENDPOINT@MARGIN")
    word, endpoint = found[1].replace("-", "_"), found[2]
    if word not in _MEETS:
        raise ConfigError(f"--require: {text!r}: there is no {word!r}, but {', '.join(_MEETS)}")
    if endpoint not in ENDPOINTS:
        near = difflib.get_close_matches(endpoint, ENDPOINTS, n=3) or list(ENDPOINTS)
        raise ConfigError(f"--require: {text!r}: no endpoint is named {endpoint!r}; there is {', '.join(near)}")
    if word == "faster" and ENDPOINTS[endpoint].kind != "latency":
        raise ConfigError(f"--require: {text!r}: {endpoint} is no latency")
    return Requirement(text, word, endpoint, _margin(text, endpoint, found[3]))


def _margin(text: str, endpoint: str, written: str | None) -> float | None:
    if written is None:
        return None
    try:
        return check_margin(float(written), 1.0 if ENDPOINTS[endpoint].kind == "quality" else float("inf"))
    except (InvalidSample, ValueError) as error:
        raise ConfigError(f"--require: {text!r}: {error}") from error


def meet(requirement: Requirement, findings: Findings) -> Met:
    """Hold a comparison against a requirement."""
    verdict = findings.verdict(requirement.endpoint, requirement.margin)
    return Met(requirement.text, verdict.verdict in _MEETS[requirement.word], verdict.text)
