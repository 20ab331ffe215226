"""Finds the weights that `deploy/lab/prepare_weights.py` made from a model folder; makes none."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from gateway.errors import ConfigError

ROOT_VARIABLE = "MOEGATE_WEIGHTS_DIR"
DEFAULT_ROOT = Path("~/.cache/moegate/weights")
# The script writes this last: a folder without it is a half-finished one.
MARKER = ".moegate-prepared"
DIGESTED = (
    *("config.json", "generation_config.json", "chat_template.jinja", "tokenizer.json", "tokenizer_config.json"),
    "*.safetensors",
)
# Reading a real checkpoint to name it would take minutes; there the path is said in the configuration.
LARGEST_BYTES = 4 << 30


def digest_of(model: Path) -> str:
    """A name for the content of a model folder; `deploy/lab/prepared_model.py` has the same."""
    digest = hashlib.sha256()
    for path in _digested(model):
        with path.open("rb") as file:
            digest.update(f"{path.name}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()[:16]


def prepared_weights(model: Path, target: str, setting: str) -> Path:
    """The folder of one target, such as `gguf`, made from this very model.

    Raises:
        ConfigError: it has not been made; the message says which command makes it, or which setting names another place.
    """
    if sum(path.stat().st_size for path in _digested(model)) > LARGEST_BYTES:
        raise ConfigError(f"{model} is too large to look up what was made from it: name it in `{setting}`")
    root = Path(os.environ.get(ROOT_VARIABLE) or DEFAULT_ROOT).expanduser().absolute()
    folder = root / digest_of(model) / target
    if not (folder / MARKER).is_file():
        raise ConfigError(
            f"{model} has no weights of the kind {target}; "
            f"run `python3 deploy/lab/prepare_weights.py {target} --model {model}`, or name some in `{setting}`"
        )
    return folder


def _digested(model: Path) -> list[Path]:
    return sorted({path for pattern in DIGESTED for path in model.glob(pattern)})
