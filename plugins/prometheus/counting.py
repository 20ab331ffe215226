"""Counts calls, one after another; knows nothing of Prometheus, and no caller can make a label."""

from __future__ import annotations

from collections import Counter

from gateway import Call, Decision, Histogram, Metric, Outcome, Usage
from gateway.contracts.metrics import counter, histogram

# Callers choose the names of parameters; those of the APIs become labels, all others share one.
KNOWN_PARAMS = frozenset({
    "add_generation_prompt", "audio", "best_of", "bootstrap_host", "bootstrap_port", "bootstrap_room", "cache_prompt",
    "cache_salt", "chat_template", "chat_template_kwargs", "continue_final_message", "custom_labels", "echo",
    "extra_key", "frequency_penalty", "function_call", "functions", "grammar", "guided_choice",
    "guided_decoding_backend", "guided_grammar", "guided_json", "guided_regex", "ignore_eos", "include",
    "include_reasoning", "instructions", "json_schema", "kv_transfer_params", "length_penalty", "logit_bias",
    "logprobs", "lora_path", "max_completion_tokens", "max_output_tokens", "max_tokens", "max_tool_calls",
    "mcp_servers", "metadata", "min_p", "min_tokens", "modalities", "n", "n_probs", "no_stop_trim",
    "parallel_tool_calls", "prediction", "presence_penalty", "priority", "prompt_cache_key", "prompt_cache_retention",
    "prompt_logprobs", "reasoning", "reasoning_content", "reasoning_effort", "regex", "repetition_penalty",
    "request_id", "response_format", "return_token_ids", "rid", "safety_identifier", "samplers", "seed",
    "separate_reasoning", "service_tier", "session_id", "session_params", "skip_special_tokens",
    "spaces_between_special_tokens", "stop", "stop_regex", "stop_sequences", "stop_token_ids", "store",
    "stream_options", "stream_reasoning", "structured_outputs", "suffix", "temperature", "text", "thinking",
    "thinking_token_budget", "tool_choice", "tools", "top_k", "top_logprobs", "top_p", "truncate_prompt_tokens",
    "truncation", "typical_p", "use_beam_search", "user", "verbosity", "vllm_xargs", "web_search_options",
})  # fmt: skip


class Placed:
    """What is counted of the calls of one model and operation that one replica served, or none.

    Attributes:
        endings: calls by ending and error.
        tokens: by class, as engines reported them; a class that none reported is not in it.
    """

    __slots__ = ("endings", "events", "first_byte", "tokens", "total")

    def __init__(self) -> None:
        self.endings: dict[tuple[str, str], int] = {}
        self.total = Histogram()
        self.first_byte = Histogram()
        self.events = 0
        self.tokens: dict[str, int] = {}

    def count_tokens(self, usage: Usage) -> None:
        """Add what one call used."""
        tokens = self.tokens
        if usage.prompt_tokens is not None:
            tokens["prompt"] = tokens.get("prompt", 0) + usage.prompt_tokens
        if usage.cached_tokens is not None:
            tokens["cached"] = tokens.get("cached", 0) + usage.cached_tokens
        if usage.completion_tokens is not None:
            tokens["completion"] = tokens.get("completion", 0) + usage.completion_tokens
        if usage.reasoning_tokens is not None:
            tokens["reasoning"] = tokens.get("reasoning", 0) + usage.reasoning_tokens


class Counters:
    """What is counted call by call; it outlives a reload.

    In plain numbers and not in prometheus_client's own, which take a lock and five calls for each: there is one thread,
    and each call of the gateway is counted in six places.
    """

    def __init__(self) -> None:
        self.placed: dict[tuple[str, ...], Placed] = {}
        self.attempts: dict[tuple[str, ...], int] = {}
        self.transforms: Counter[tuple[str, ...]] = Counter()
        self.dropped_params: Counter[tuple[str, ...]] = Counter()

    def metrics(self) -> list[Metric]:
        """All of it, as extensions show what they count."""
        placed = ("model", "operation", "replica")
        endings = {
            (*place, *how): number for place, each in self.placed.items() for how, number in each.endings.items()
        }
        tokens: Counter[tuple[str, ...]] = Counter()
        events: Counter[tuple[str, ...]] = Counter()
        for (model, _, replica), each in self.placed.items():
            for name, number in each.tokens.items():
                tokens[model, replica, name] += number
            if each.events:
                events[replica,] += each.events
        first_bytes = {place: each.first_byte for place, each in self.placed.items() if any(each.first_byte.counts)}
        return [
            counter("moegate_calls", "Calls by how they ended.", endings, *placed, "ending", "error"),
            counter("moegate_attempts", "Tries on replicas.", self.attempts, "replica", "backend", "error"),
            counter("moegate_tokens", "Tokens as the engines reported them.", tokens, "model", "replica", "class"),
            counter(
                "moegate_transforms",
                "Calls whose request or answer was changed on its way, by how.",
                self.transforms,
                "backend",
                "transform",
            ),
            counter(
                "moegate_dropped_params",
                "Calls that lost a parameter which their engine would have refused.",
                self.dropped_params,
                "backend",
                "param",
            ),
            counter("moegate_streamed_events", "Stream events relayed.", events, "replica"),
            histogram(
                "moegate_call_seconds", "Whole calls.", {at: each.total for at, each in self.placed.items()}, *placed
            ),
            histogram(
                "moegate_first_byte_seconds",
                "From a call's arrival to its first byte from an engine.",
                first_bytes,
                *placed,
            ),
        ]

    def count(self, call: Call, outcome: Outcome, decision: Decision) -> None:
        """Count one call."""
        chosen = decision.chosen
        place = (call.model.name, call.operation, chosen or "none")
        placed = self.placed.get(place)
        if placed is None:
            placed = self.placed[place] = Placed()
        how = (outcome.ending, outcome.error_code or "")
        placed.endings[how] = placed.endings.get(how, 0) + 1
        placed.total.observe(outcome.total_seconds)
        if outcome.first_byte_seconds is not None:
            placed.first_byte.observe(outcome.first_byte_seconds)
        for attempt in outcome.attempts:
            tried = (attempt.replica, attempt.backend, attempt.error_code or "")
            self.attempts[tried] = self.attempts.get(tried, 0) + 1
        if outcome.transforms or outcome.dropped_params:
            self._count_edits(outcome)
        if chosen is not None:
            placed.events += outcome.streamed_events
            if outcome.usage is not None and not outcome.usage_estimated:
                placed.count_tokens(outcome.usage)

    def _count_edits(self, outcome: Outcome) -> None:
        """What was done for the engine of the last attempt, each kind once per call."""
        backend = outcome.attempts[-1].backend if outcome.attempts else "none"
        for transform in dict.fromkeys(outcome.transforms):
            self.transforms[backend, transform] += 1
        fields = {name.partition(".")[0] for name in outcome.dropped_params}
        for param in {field if field in KNOWN_PARAMS else "other" for field in fields}:
            self.dropped_params[backend, param] += 1
