"""Declares two operators of torchvision whose library is linked against CUDA and cannot be loaded; runs none of them.

SGLang imports torchvision for image models. Its Python half describes these operators to torch, and torch refuses a
description of an operator that nobody has declared.
"""

import contextlib

OPERATORS = ("nms", "qnms")
SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
# torch forgets the declarations when the library that made them is collected.
_kept_alive: list[object] = []


def define() -> None:
    """Declare them, unless a torchvision for this machine has."""
    import torch  # noqa: PLC0415 - only an interpreter that imports torchvision shall pay for torch

    library = torch.library.Library("torchvision", "FRAGMENT")
    for operator in OPERATORS:
        with contextlib.suppress(RuntimeError):
            library.define(f"{operator}{SIGNATURE}")
    _kept_alive.append(library)
