"""Runs the model over one sequence at a time with a cache of its own; it must not know about requests or text."""

from collections.abc import Sequence

import torch
from transformers import DeepseekV3ForCausalLM, DynamicCache

from backends.torch_reference.engine import sampling
from backends.torch_reference.engine.sequence import SequenceSpec, TokenChoice, TokenScore

# Prompt tokens that are read at once. Attention over a whole long prompt takes memory by the square of its length
# (14 GB at 30,000 tokens of a model with four heads), and nobody else gets a turn meanwhile.
PROMPT_PIECE = 512


class ReferenceModel:
    """The loaded model and what the worker needs to know of it."""

    def __init__(self, model: DeepseekV3ForCausalLM, token_bytes: Sequence[bytes], threads: int) -> None:
        """Serve this model on so many threads."""
        self.token_bytes = token_bytes
        self._model = model
        self._threads = threads

    def open(self, spec: SequenceSpec) -> "CachedSequence":
        """Begin a sequence."""
        # torch keeps the number per thread that asks, and it is the worker's thread that runs the model.
        if torch.get_num_threads() != self._threads:
            torch.set_num_threads(self._threads)
        return CachedSequence(self._model, spec)


class CachedSequence:
    """A sequence and its key-value cache."""

    def __init__(self, model: DeepseekV3ForCausalLM, spec: SequenceSpec) -> None:
        """Start with an empty cache; the whole prompt is unseen."""
        self._model = model
        self._spec = spec
        self._cache = DynamicCache(config=model.config)
        self._generator = sampling.build_generator(spec.sampling.seed, spec.index)
        self._absorbed = 0
        self._scores: list[TokenScore | None] = [None]
        # The logits of the next token, once they are known.
        self._next: torch.Tensor | None = None
        self._last_id = spec.prompt_ids[-1]

    def absorb(self) -> int:
        """Run over a piece of the prompt; return how many of its tokens are left."""
        prompt = self._spec.prompt_ids
        end = min(self._absorbed + PROMPT_PIECE, len(prompt))
        with torch.inference_mode():
            hidden = self._forward(prompt[self._absorbed : end])
            if self._spec.score_prompt:
                # The row of each token predicts the one that follows; that of the last is no prompt token's.
                following = prompt[self._absorbed + 1 : end + 1]
                alternatives = self._spec.top_logprobs or 0
                rows = self._logits(hidden[: len(following)])
                self._scores += [
                    sampling.score(row, token_id, alternatives) for row, token_id in zip(rows, following, strict=True)
                ]
            if end == len(prompt):
                self._next = self._logits(hidden[-1:])[0]
        self._absorbed = end
        return len(prompt) - end

    def prompt_scores(self) -> list[TokenScore | None]:
        """Return the scores of the absorbed prompt."""
        return self._scores

    def advance(self, forced_id: int | None) -> TokenChoice:
        """Choose the next token."""
        with torch.inference_mode():
            if self._next is None:
                self._next = self._logits(self._forward((self._last_id,)))[0]
            logits, self._next = self._next, None
            token_id = sampling.choose(logits, self._spec.sampling, self._generator) if forced_id is None else forced_id
            alternatives = self._spec.top_logprobs
            score = None if alternatives is None else sampling.score(logits, token_id, alternatives)
        self._last_id = token_id
        return TokenChoice(token_id, score)

    def _forward(self, token_ids: Sequence[int]) -> torch.Tensor:
        """Return the last hidden states of these tokens, which follow all that ran before."""
        output = self._model.model(input_ids=torch.tensor([token_ids]), past_key_values=self._cache, use_cache=True)
        hidden: torch.Tensor = output.last_hidden_state[0]
        return hidden

    def _logits(self, hidden: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self._model.lm_head(hidden).float()
        if not bool(torch.isfinite(logits).all()):
            # An oracle that is wrong must say so rather than sample from noise.
            raise ArithmeticError("the model gave logits that are not finite")
        return logits
