"""Muon for the matrices of the network and AdamW for everything else."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch
from network import Network, Shape
from torch import Tensor


def orthogonalised(stack: Tensor, rounds: int = 4) -> Tensor:
    """Push the singular values of each matrix of a stack towards one (Newton-Schulz, rows <= columns)."""
    x = stack / (stack.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(rounds):
        gram = torch.bmm(x, x.transpose(1, 2))
        poly = torch.baddbmm(gram, gram, gram, beta=-4.7750, alpha=2.0315)
        x = torch.baddbmm(x, poly, x, beta=3.4445)
    return x


def parts(name: str, tensor: Tensor, shape: Shape) -> list[Tensor]:
    """The matrices that a parameter consists of, as [outputs, inputs] views."""
    if name.endswith("experts.gate_up"):
        return [half.transpose(1, 2)[i] for half in tensor.chunk(2, dim=-1) for i in range(shape.experts)]
    if name.endswith("experts.down"):
        return [tensor[i].T for i in range(shape.experts)]
    if "kv_b_proj" in name or "q_b_proj" in name:
        return list(tensor.split(shape.nope, dim=0))
    if "kv_a_proj" in name:
        return list(tensor.split([shape.kv_lora, shape.rope], dim=0))
    return [tensor]


class Muon:
    """Momentum whose step is orthogonalised; matrices of the same size are treated together."""

    def __init__(self, named: list[tuple[str, Tensor]], shape: Shape, momentum: float, decay: float) -> None:
        self.momentum, self.decay = momentum, decay
        self.named, self.shape = named, shape
        self.buffers = {name: torch.zeros_like(parameter) for name, parameter in named}

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Update the matrices from their gradients."""
        groups: dict[tuple[int, int], list[tuple[Tensor, Tensor]]] = defaultdict(list)
        for name, parameter in self.named:
            if parameter.grad is None:
                continue
            buffer = self.buffers[name]
            buffer.lerp_(parameter.grad, 1 - self.momentum)
            step = parameter.grad.lerp(buffer, self.momentum)
            parameter.mul_(1 - rate * self.decay)
            for weight, change in zip(
                parts(name, parameter.data, self.shape), parts(name, step, self.shape), strict=True
            ):
                rows, columns = change.shape
                groups[min(rows, columns), max(rows, columns)].append((weight, change))
        for members in groups.values():
            wide = [change if change.shape[0] <= change.shape[1] else change.T for _, change in members]
            for (weight, change), result in zip(members, orthogonalised(torch.stack(wide)), strict=True):
                scale = max(1.0, weight.shape[0] / weight.shape[1]) ** 0.5
                weight.add_(result if change.shape[0] <= change.shape[1] else result.T, alpha=-rate * scale)


class Optimiser:
    """Both optimisers behind one step, with learning rates that share a schedule."""

    def __init__(self, network: Network, *, matrix_rate: float, other_rate: float) -> None:
        named = [(name, p) for name, p in network.named_parameters() if self.is_matrix(name, p)]
        taken = {name for name, _ in named}
        rest = [p for name, p in network.named_parameters() if name not in taken]
        self.matrix_rate, self.other_rate = matrix_rate, other_rate
        self.muon = Muon(named, network.shape, momentum=0.95, decay=0.05)
        self.adam = torch.optim.AdamW(rest, lr=other_rate, betas=(0.9, 0.98), eps=1e-9, weight_decay=0.0)

    @staticmethod
    def is_matrix(name: str, parameter: Tensor) -> bool:
        """Whether Muon takes care of a parameter."""
        outside = ("embed_tokens" in name, "lm_head" in name, name.endswith("gate.weight"))
        return parameter.dim() > 1 and not any(outside)

    def step(self, factor: float) -> None:
        """Update all parameters; the factor scales both learning rates."""
        self.muon.step(self.matrix_rate * factor)
        for group in self.adam.param_groups:
            group["lr"] = self.other_rate * factor
        self.adam.step()

    def state(self) -> dict[str, Any]:
        """What a checkpoint has to keep."""
        return {"muon": self.muon.buffers, "adam": self.adam.state_dict()}

    def load(self, state: dict[str, Any]) -> None:
        """Take up a kept state."""
        self.muon.buffers = state["muon"]
        self.adam.load_state_dict(state["adam"])
