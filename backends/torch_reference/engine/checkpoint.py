"""Reads what a checkpoint's folder says of itself and refuses what would not be exact; it must not import torch."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from backends.torch_reference.engine.errors import StartError
from backends.torch_reference.engine.sequence import SamplingParams

ARCHITECTURE = "DeepseekV3ForCausalLM"


class Checkpoint(NamedTuple):
    """A checkpoint's own description."""

    folder: Path
    config: dict[str, Any]
    context_length: int
    end_ids: frozenset[int]
    default_sampling: SamplingParams


def read_checkpoint(folder: Path) -> Checkpoint:
    """Return the description, or refuse to start: here, before torch takes seconds to import."""
    if not folder.is_dir():
        raise refusal(f"{folder} is not a folder")
    config = _read_json(folder / "config.json")
    if ARCHITECTURE not in (config.get("architectures") or []):
        raise refusal(f"the checkpoint's architectures do not include {ARCHITECTURE}")
    if config.get("quantization_config"):
        raise refusal("quantised checkpoints are not supported: the reference runs the weights as they are")
    if not (folder / "tokenizer.json").is_file():
        raise refusal(f"{folder / 'tokenizer.json'} does not exist")
    if not any(folder.glob("*.safetensors")):
        raise refusal(f"{folder} holds no safetensors files")
    length = config.get("max_position_embeddings")
    if not isinstance(length, int) or length < 1:
        raise refusal("config.json has no usable max_position_embeddings")
    path = folder / "generation_config.json"
    generation = _read_json(path) if path.exists() else {}
    return Checkpoint(
        folder=folder,
        config=config,
        context_length=length,
        end_ids=_end_ids(config) | _end_ids(generation),
        default_sampling=_sampling(generation),
    )


def refusal(reason: str) -> StartError:
    """Return the error of a checkpoint that cannot be served."""
    return StartError(f"cannot load the model: {reason}")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise refusal(f"{path} does not exist") from error
    except (OSError, ValueError) as error:
        raise refusal(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise refusal(f"{path} is not a JSON object")
    return content


def _end_ids(description: dict[str, Any]) -> frozenset[int]:
    value = description.get("eos_token_id")
    return frozenset([value] if isinstance(value, int) else value or [])


def _sampling(generation: dict[str, Any]) -> SamplingParams:
    """Return the sampling that the checkpoint recommends, as vLLM also takes it, for requests that name none."""
    return SamplingParams(
        temperature=float(generation.get("temperature") or 1.0),
        top_p=float(generation.get("top_p") or 1.0),
        top_k=int(generation.get("top_k") or 0),
    )
