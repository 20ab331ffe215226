"""Keeps 4-bit experts in memory for as long as KTransformers' AVX2 kernel reads them, that is for good.

The kernel computes from the tensors that the loader read, but the layer lets go of them once the kernel has their addresses, as is
right for kernels that copy. What is read then is whatever lies there next: wrong answers or a crash.
"""

from typing import Any

_kept: list[list[object]] = []


def keep() -> None:
    """Make the loader of 4-bit experts hold on to what it hands out."""
    from kt_kernel.utils.loader import CompressedSafeTensorLoader  # noqa: PLC0415 - the engine's own, heavy

    load = CompressedSafeTensorLoader.load_experts

    def load_and_keep(self: object, *arguments: object, **options: object) -> Any:
        experts = load(self, *arguments, **options)
        _kept.extend(list(tensors) for tensors in experts.values())
        return experts

    CompressedSafeTensorLoader.load_experts = load_and_keep
