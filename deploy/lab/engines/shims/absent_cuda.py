"""Gives torch the few CUDA calls that KTransformers makes without asking whether there is a GPU; each does nothing.

Work on a CPU is over when the call returns, so a stream that orders nothing and an event that waits for nothing are right.
"""

import contextlib
import functools
from collections.abc import Callable
from typing import Any

import torch

FACTORIES = ("zeros", "empty", "full", "ones")


class _Nothing:
    """Stands for a CUDA stream or event."""

    cuda_stream = 0

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def wait_stream(self, *_: object) -> None:
        """Wait for nothing."""

    wait_event = record = synchronize = wait = wait_stream


def pretend() -> None:
    """Put the stand-ins in place, on a machine without a GPU only; twice does no harm."""
    if torch.cuda.is_available() or torch.cuda.Stream is _Nothing:
        return
    torch.cuda.get_device_capability = lambda *_, **__: (0, 0)
    torch.cuda.synchronize = lambda *_, **__: None
    torch.cuda.Stream = torch.cuda.Event = _Nothing
    torch.cuda.current_stream = lambda *_, **__: _Nothing()
    torch.cuda.stream = lambda *_, **__: contextlib.nullcontext()
    torch.Tensor.record_stream = lambda *_: None
    for name in FACTORIES:
        setattr(torch, name, _without_pinning(getattr(torch, name)))


def _without_pinning(factory: Callable[..., Any]) -> Callable[..., Any]:
    # Memory is pinned for a GPU to read; torch refuses where there is none.
    @functools.wraps(factory)
    def unpinned(*args: object, **options: object) -> object:
        options.pop("pin_memory", None)
        return factory(*args, **options)

    return unpinned
