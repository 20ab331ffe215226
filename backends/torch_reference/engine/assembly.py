"""Puts the engine together from a checkpoint: the only file that knows all parts that need torch."""

import argparse
import importlib.metadata
from typing import Any

import transformers

from backends.torch_reference.engine import ENGINE_VERSION
from backends.torch_reference.engine.checkpoint import Checkpoint, refusal
from backends.torch_reference.engine.metrics import Metrics
from backends.torch_reference.engine.model import ReferenceModel
from backends.torch_reference.engine.responses import VersionInfo
from backends.torch_reference.engine.service import Served, Service
from backends.torch_reference.engine.tokenizer import CheckpointTokenizer
from backends.torch_reference.engine.weights import load_model
from backends.torch_reference.engine.worker import Worker


def assemble(arguments: argparse.Namespace, checkpoint: Checkpoint) -> Service:
    """Load the checkpoint and return the engine, or refuse to start."""
    library_logging: Any = transformers.utils.logging
    library_logging.set_verbosity_error()
    library_logging.disable_progress_bar()
    context_length = arguments.context_length or checkpoint.context_length
    try:
        tokenizer = CheckpointTokenizer(checkpoint.folder, context_length)
    except Exception as error:
        # The tokenizers library raises bare Exceptions.
        raise refusal(f"the tokenizer cannot be loaded: {error}") from error
    model = load_model(checkpoint, arguments.dtype)
    served = Served(
        name=arguments.served_model_name,
        context_length=context_length,
        vocabulary_size=int(model.config.vocab_size),
        end_ids=checkpoint.end_ids | tokenizer.end_ids(),
        default_sampling=checkpoint.default_sampling,
    )
    metrics = Metrics()
    worker = Worker(
        ReferenceModel(model, tokenizer.token_bytes, arguments.threads),
        metrics,
        max_concurrent=arguments.max_concurrent,
        max_waiting=arguments.max_waiting,
    )
    version = VersionInfo(
        version=ENGINE_VERSION,
        engine="torch_reference",
        torch=importlib.metadata.version("torch"),
        transformers=importlib.metadata.version("transformers"),
        dtype=arguments.dtype,
    )
    return Service(served, tokenizer, worker, metrics, version)
