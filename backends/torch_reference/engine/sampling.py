"""Chooses a token from logits and scores it; it must not keep state beyond the generator it is given."""

import torch

from backends.torch_reference.engine.sequence import SamplingParams, TokenScore

# Below this a temperature means greedy: dividing by it would overflow.
GREEDY_BELOW = 1e-5
# torch takes seeds of 64 bits.
_SEED_MASK = (1 << 63) - 1


def build_generator(seed: int | None, index: int) -> torch.Generator:
    """Return the random numbers of one sequence; the answers of one request draw different ones."""
    generator = torch.Generator()
    if seed is None:
        generator.seed()
    else:
        generator.manual_seed((seed + index) & _SEED_MASK)
    return generator


def choose(logits: torch.Tensor, sampling: SamplingParams, generator: torch.Generator) -> int:
    """Return the next token id; `logits` is one float32 row over the vocabulary."""
    if sampling.temperature < GREEDY_BELOW:
        return int(logits.argmax())
    probabilities, token_ids = torch.softmax(logits / sampling.temperature, dim=-1).sort(descending=True, stable=True)
    if sampling.top_k > 0:
        probabilities = probabilities[: sampling.top_k]
    if sampling.top_p < 1.0:
        # Keep what lies before the bound is reached, so at least the likeliest token.
        before = probabilities.cumsum(dim=-1) - probabilities
        kept = before < sampling.top_p * probabilities.sum()
        kept[0] = True
        probabilities = probabilities * kept
    drawn = torch.multinomial(probabilities, 1, generator=generator)
    return int(token_ids[drawn])


def score(logits: torch.Tensor, token_id: int, alternatives: int) -> TokenScore:
    """Return the log-probability of a token under the plain distribution: before temperature, top_p and top_k."""
    logprobs = torch.log_softmax(logits, dim=-1)
    values, ids = logprobs.topk(min(alternatives, logprobs.shape[-1]))
    top = tuple(zip(ids.tolist(), values.tolist(), strict=True))
    return TokenScore(token_id, float(logprobs[token_id]), top)
