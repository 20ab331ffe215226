"""Writes a checkpoint's weights anew, changed in one way; runs in the reference engine's environment, never inside pytest.

`noise SHARE`: each matrix gets noise of that share of its own spread: another checkpoint of the same shape.
`rows BITS`: each row of each matrix is rounded to integers of so many bits with one scale, as integer kernels hold weights.
`groups BITS`: the same with a scale for every 32 numbers, as 4-bit formats do it.
"""

import argparse
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

GROUP = 32


def noisy(tensor: torch.Tensor, share: float, generator: torch.Generator) -> torch.Tensor:
    """Return the tensor with noise."""
    return tensor + torch.randn(tensor.shape, generator=generator) * tensor.std() * share


def rounded(tensor: torch.Tensor, bits: int, group: int | None) -> torch.Tensor:
    """Return the tensor as integers of so many bits times a scale per group of a row."""
    largest = 2 ** (bits - 1) - 1
    grouped = tensor.reshape(*tensor.shape[:-1], -1, group) if group is not None else tensor
    scale = grouped.abs().amax(-1, keepdim=True).clamp(min=1e-12) / largest
    return ((grouped / scale).round() * scale).reshape(tensor.shape)


def main() -> None:
    """Change one file of weights in place."""
    parser = argparse.ArgumentParser()
    parser.add_argument("file", type=Path)
    parser.add_argument("way", choices=("noise", "rows", "groups"))
    parser.add_argument("amount", type=float)
    options = parser.parse_args()
    generator = torch.Generator().manual_seed(7)
    changed = {}
    for name, tensor in load_file(options.file).items():
        matrix = tensor.float()
        if tensor.dim() >= 2:
            if options.way == "noise":
                matrix = noisy(matrix, options.amount, generator)
            else:
                matrix = rounded(matrix, int(options.amount), GROUP if options.way == "groups" else None)
        # In float32: rounding to bfloat16 once more would be a second change.
        changed[name] = matrix.contiguous()
    save_file(changed, options.file, metadata={"format": "pt"})


if __name__ == "__main__":
    main()
