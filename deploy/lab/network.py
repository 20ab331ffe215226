"""The K2-shaped network in plain PyTorch, laid out for fast training on a few CPU cores.

It computes what the `DeepseekV3ForCausalLM` of transformers computes. The one difference is that the routed
experts of a layer are stacked in two tensors; `checkpoint.py` writes them one by one.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class Shape:
    """Dimensions of the model; every engine of the lab accepts these."""

    vocab: int
    hidden: int = 256
    layers: int = 3
    dense_layers: int = 1
    heads: int = 4
    q_lora: int = 64
    kv_lora: int = 512
    rope: int = 64
    nope: int = 64
    value: int = 64
    dense_inner: int = 512
    expert_inner: int = 128
    experts: int = 16
    active: int = 4
    routed_scaling: float = 2.0
    rope_theta: float = 50000.0
    norm_eps: float = 1e-6
    positions: int = 32768


def rotary_tables(shape: Shape, length: int) -> tuple[Tensor, Tensor]:
    """Cosine and sine per position and frequency, each of shape [length, rope / 2]."""
    step = torch.arange(0, shape.rope, 2, dtype=torch.float32) / shape.rope
    angles = torch.outer(torch.arange(length, dtype=torch.float32), shape.rope_theta**-step)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate neighbouring pairs of the last dimension (the interleaved layout of DeepSeek checkpoints)."""
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.cat((even * cos - odd * sin, odd * cos + even * sin), dim=-1)


class RMSNorm(nn.Module):
    """Root-mean-square normalisation."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Compute the module."""
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps) * self.weight


def linear(inputs: int, outputs: int) -> nn.Linear:
    """A linear map without bias."""
    return nn.Linear(inputs, outputs, bias=False)


class Attention(nn.Module):
    """Multi-head latent attention, expanded form."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.q_a_proj = linear(shape.hidden, shape.q_lora)
        self.q_a_layernorm = RMSNorm(shape.q_lora, shape.norm_eps)
        self.q_b_proj = linear(shape.q_lora, shape.heads * (shape.nope + shape.rope))
        self.kv_a_proj_with_mqa = linear(shape.hidden, shape.kv_lora + shape.rope)
        self.kv_a_layernorm = RMSNorm(shape.kv_lora, shape.norm_eps)
        self.kv_b_proj = linear(shape.kv_lora, shape.heads * (shape.nope + shape.value))
        self.o_proj = linear(shape.heads * shape.value, shape.hidden)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor) -> Tensor:
        """Compute the module."""
        s = self.shape
        batch, length, _ = x.shape
        q = self.q_b_proj(self.q_a_layernorm(self.q_a_proj(x)))
        q_nope, q_rope = q.view(batch, length, s.heads, -1).transpose(1, 2).split([s.nope, s.rope], dim=-1)
        latent, k_rope = self.kv_a_proj_with_mqa(x).split([s.kv_lora, s.rope], dim=-1)
        kv = self.kv_b_proj(self.kv_a_layernorm(latent))
        k_nope, value = kv.view(batch, length, s.heads, -1).transpose(1, 2).split([s.nope, s.value], dim=-1)
        scale = (s.nope + s.rope) ** -0.5
        q_full = torch.cat((q_nope, rotate(q_rope, cos, sin)), dim=-1) * scale
        k_turned = rotate(k_rope.unsqueeze(1), cos, sin).expand(-1, s.heads, -1, -1)
        k_full = torch.cat((k_nope, k_turned), dim=-1)
        weights = (q_full @ k_full.transpose(2, 3) + mask).softmax(dim=-1)
        return self.o_proj((weights @ value).transpose(1, 2).reshape(batch, length, -1))


class MLP(nn.Module):
    """Gated feed-forward network."""

    def __init__(self, hidden: int, inner: int) -> None:
        super().__init__()
        self.gate_proj = linear(hidden, inner)
        self.up_proj = linear(hidden, inner)
        self.down_proj = linear(inner, hidden)

    def forward(self, x: Tensor) -> Tensor:
        """Compute the module."""
        return self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))


class Gate(nn.Module):
    """Sigmoid router; the correction bias takes part in the choice of experts, not in their weights."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.weight = nn.Parameter(torch.empty(shape.experts, shape.hidden))
        self.register_buffer("e_score_correction_bias", torch.zeros(shape.experts))
        self.register_buffer("load", torch.zeros(shape.experts), persistent=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the module."""
        scores = functional.linear(x, self.weight).sigmoid()
        chosen = (scores.detach() + self.e_score_correction_bias).topk(self.shape.active, dim=-1, sorted=False)[1]
        weights = scores.gather(1, chosen)
        weights = weights / (weights.sum(dim=-1, keepdim=True) + 1e-20) * self.shape.routed_scaling
        return weights, chosen


class Experts(nn.Module):
    """All routed experts of a layer: tokens are sorted by expert, then each expert takes its slice."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.gate_up = nn.Parameter(torch.empty(shape.experts, shape.hidden, 2 * shape.expert_inner))
        self.down = nn.Parameter(torch.empty(shape.experts, shape.expert_inner, shape.hidden))

    def forward(self, x: Tensor, weights: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the module."""
        s = self.shape
        flat = chosen.flatten()
        order = flat.argsort(stable=True)
        counts = torch.bincount(flat, minlength=s.experts)
        sizes = counts.tolist()
        place = torch.empty_like(order)
        place[order] = torch.arange(order.numel())
        grouped = x.index_select(0, order // s.active).split(sizes)
        inner = torch.cat([part @ matrix for part, matrix in zip(grouped, self.gate_up.unbind(0), strict=True)])
        gate, up = inner.chunk(2, dim=-1)
        active = (functional.silu(gate) * up).split(sizes)
        out = torch.cat([part @ matrix for part, matrix in zip(active, self.down.unbind(0), strict=True)])
        mixed = out.index_select(0, place).view(-1, s.active, s.hidden)
        return torch.bmm(weights.unsqueeze(1), mixed).squeeze(1), counts


class MoE(nn.Module):
    """Routed experts plus the shared one."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate = Gate(shape)
        self.experts = Experts(shape)
        self.shared_experts = MLP(shape.hidden, shape.expert_inner)

    def forward(self, x: Tensor) -> Tensor:
        """Compute the module."""
        flat = x.reshape(-1, x.shape[-1])
        weights, chosen = self.gate(flat)
        routed, counts = self.experts(flat, weights, chosen)
        if self.training:
            self.gate.load += counts
        return (routed + self.shared_experts(flat)).view_as(x)


class Layer(nn.Module):
    """Attention, then a dense network or experts."""

    def __init__(self, shape: Shape, index: int) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(shape.hidden, shape.norm_eps)
        self.self_attn = Attention(shape)
        self.post_attention_layernorm = RMSNorm(shape.hidden, shape.norm_eps)
        dense = index < shape.dense_layers
        self.mlp = MLP(shape.hidden, shape.dense_inner) if dense else MoE(shape)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor, wanted: Tensor | None = None) -> Tensor:
        """Compute the module."""
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, mask)
        if wanted is not None:
            x = x.flatten(0, 1).index_select(0, wanted)
        return x + self.mlp(self.post_attention_layernorm(x))


class Network(nn.Module):
    """The whole model; holds the same parameters as a DeepSeek checkpoint."""

    def __init__(self, shape: Shape, longest: int = 2048) -> None:
        super().__init__()
        self.shape = shape
        self.embed_tokens = nn.Embedding(shape.vocab, shape.hidden)
        self.layers = nn.ModuleList([Layer(shape, index) for index in range(shape.layers)])
        self.norm = RMSNorm(shape.hidden, shape.norm_eps)
        self.lm_head = linear(shape.hidden, shape.vocab)
        cos, sin = rotary_tables(shape, longest)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        self.initialise()

    def initialise(self) -> None:
        """Scaled normal weights; what writes into the residual stream starts small."""
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if parameter.dim() == 1:
                    continue
                inputs = parameter.shape[1]
                std = inputs**-0.5
                if "embed_tokens" in name:
                    std = 0.5
                elif "o_proj" in name or "down" in name or "lm_head" in name:
                    std *= 0.2
                parameter.normal_(std=std)

    def forward(self, tokens: Tensor, wanted: Tensor | None = None) -> Tensor:
        """Logits of right-padded sequences [batch, length].

        With `wanted`, indices into the flattened positions, only those rows: the last layer then spares the rest.
        """
        length = tokens.shape[1]
        mask = torch.full((length, length), -1e9).triu(1)
        x = self.embed_tokens(tokens)
        for layer in self.layers[:-1]:
            x = layer(x, self.cos[:length], self.sin[:length], mask)
        x = self.layers[-1](x, self.cos[:length], self.sin[:length], mask, wanted)
        return self.lm_head(self.norm(x))
