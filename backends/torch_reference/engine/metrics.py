"""Counts what the engine does and writes it as Prometheus text; it must not measure by itself."""

from typing import Literal

Outcome = Literal["completed", "failed", "disconnected", "refused"]
OUTCOMES: tuple[Outcome, ...] = ("completed", "failed", "disconnected", "refused")

_PREFIX = "moegate_reference_engine_"


class Metrics:
    """The engine's counters. Each is written by one thread only, so that no lock is needed."""

    def __init__(self) -> None:
        """Start at zero."""
        # Written by the worker's thread.
        self.prompt_tokens = 0
        self.generation_tokens = 0
        self.prefill_seconds = 0.0
        self.decode_seconds = 0.0
        # Written by the event loop.
        self.outcomes: dict[Outcome, int] = dict.fromkeys(OUTCOMES, 0)

    def count_step(self, seconds: float, *, prompt_tokens: int, generated_tokens: int) -> None:
        """Count one step of one sequence; a step that reads the prompt and gives the first token is prefill."""
        self.prompt_tokens += prompt_tokens
        self.generation_tokens += generated_tokens
        if prompt_tokens:
            self.prefill_seconds += seconds
        else:
            self.decode_seconds += seconds

    def render(self, *, running: int, waiting: int, max_concurrent: int) -> str:
        """Return the exposition text; gauges are given by who knows them."""
        lines: list[str] = []
        self._gauge(lines, "requests_running", "Sequences that hold a slot.", running)
        self._gauge(lines, "requests_waiting", "Sequences that wait for a slot.", waiting)
        self._gauge(lines, "slots", "Sequences that can run at once.", max_concurrent)
        self._counter(lines, "prompt_tokens_total", "Prompt tokens computed.", self.prompt_tokens)
        self._counter(lines, "generation_tokens_total", "Tokens generated.", self.generation_tokens)
        self._counter(lines, "prefill_seconds_total", "Time spent on steps that read prompts.", self.prefill_seconds)
        self._counter(lines, "decode_seconds_total", "Time spent on all other steps.", self.decode_seconds)
        self._head(lines, "requests_total", "Requests by how they ended.", "counter")
        for outcome, count in self.outcomes.items():
            lines.append(f'{_PREFIX}requests_total{{outcome="{outcome}"}} {count}')
        return "\n".join(lines) + "\n"

    def _head(self, lines: list[str], name: str, text: str, kind: str) -> None:
        lines += [f"# HELP {_PREFIX}{name} {text}", f"# TYPE {_PREFIX}{name} {kind}"]

    def _gauge(self, lines: list[str], name: str, text: str, value: int) -> None:
        self._head(lines, name, text, "gauge")
        lines.append(f"{_PREFIX}{name} {value}")

    def _counter(self, lines: list[str], name: str, text: str, value: float) -> None:
        self._head(lines, name, text, "counter")
        lines.append(f"{_PREFIX}{name} {value}")
