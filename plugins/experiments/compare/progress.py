"""Tells people how a run stands, on standard error: one line that changes on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time

from plugins.experiments.compare.running import Standing

TERMINAL_SECONDS = 0.5
ELSEWHERE_SECONDS = 10.0
_MINUTE, _HOUR = 60, 3600


def every_seconds() -> float:
    """How often to tell."""
    return TERMINAL_SECONDS if sys.stderr.isatty() else ELSEWHERE_SECONDS


def tell(standing: Standing) -> None:
    """Say it."""
    text = line(standing, time.monotonic())
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{text}")
    else:
        sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def end_line() -> None:
    """Leave the line that changes."""
    if sys.stderr.isatty():
        sys.stderr.write("\n")


def line(standing: Standing, now: float) -> str:
    """How far, how fast, how much longer."""
    share = standing.done / standing.total if standing.total else 1.0
    fresh, passed = standing.done - standing.before, now - standing.began
    parts = [f"{standing.done} of {standing.total} calls ({share:.0%})"]
    if passed > 0 and fresh:
        parts.append(f"{fresh / passed:.3g} a second")
    eta = standing.eta_seconds(now)
    if eta is not None:
        parts.append(f"about {duration(eta)} left")
    parts += [f"{count} errors of {arm}" for arm, count in sorted(standing.errors.items())]
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """For people: `42 s`, `3 min 5 s`, `2 h 10 min`."""
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE} s"
    return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE} min"
