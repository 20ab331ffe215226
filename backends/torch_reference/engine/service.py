"""What all routes share: the loaded checkpoint, the worker and the names they go by; it must not know about HTTP."""

import time
from typing import Any, NamedTuple, Protocol

from backends.torch_reference.engine.errors import ModelNotFound
from backends.torch_reference.engine.metrics import Metrics
from backends.torch_reference.engine.responses import VersionInfo
from backends.torch_reference.engine.sequence import SamplingParams
from backends.torch_reference.engine.worker import Worker


class Tokenizer(Protocol):
    """What routes need of a tokenizer."""

    token_bytes: list[bytes]
    special_ids: frozenset[int]
    marker_ids: dict[str, int]

    @property
    def supports_tools(self) -> bool:
        """Whether every tool-call marker is one token."""

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        """Return the token ids of a text."""

    def render(
        self,
        messages: list[dict[str, Any]],
        tools: list[dict[str, Any]] | None,
        arguments: dict[str, Any],
        *,
        add_generation_prompt: bool = True,
    ) -> list[int]:
        """Return the token ids of a conversation."""


class Served(NamedTuple):
    """The served model's facts."""

    name: str
    context_length: int
    vocabulary_size: int
    end_ids: frozenset[int]
    default_sampling: SamplingParams


class Service:
    """The engine, put together."""

    def __init__(
        self, served: Served, tokenizer: Tokenizer, worker: Worker, metrics: Metrics, version: VersionInfo
    ) -> None:
        """Hold the parts."""
        self.served = served
        self.tokenizer = tokenizer
        self.worker = worker
        self.metrics = metrics
        self.version = version
        self.created = int(time.time())
        self.fingerprint = f"torch-reference-{version.version}-{version.torch}-{version.dtype}"

    def check_model(self, name: str) -> None:
        """Refuse a model that is not served here."""
        if name != self.served.name:
            raise ModelNotFound(
                f"The model {name[:100]!r} does not exist. This engine serves {self.served.name!r}.", param="model"
            )
