"""Where weights made from a model folder lie, and what state they are in; it makes none and knows no engine.

Standard library only: the scripts that make the weights run in the engines' own environments.
"""

import hashlib
import json
import os
from pathlib import Path

ROOT_VARIABLE = "MOEGATE_WEIGHTS_DIR"
DEFAULT_ROOT = Path("~/.cache/moegate/weights")
# Written last: a folder without it is a half-finished one.
MARKER = ".moegate-prepared"
# What decides how the model answers. Cards, evaluations and licences do not.
DIGESTED = (
    *("config.json", "generation_config.json", "chat_template.jinja", "tokenizer.json", "tokenizer_config.json"),
    "*.safetensors",
)


def digest_of(model: Path) -> str:
    """A name for the content of a model folder; `backends.launchers.prepared_weights` has the same."""
    digest = hashlib.sha256()
    for path in sorted({path for pattern in DIGESTED for path in model.glob(pattern)}):
        with path.open("rb") as file:
            digest.update(f"{path.name}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()[:16]


def weights_folder(model: Path) -> Path:
    """The folder of everything that is made from this model."""
    root = Path(os.environ.get(ROOT_VARIABLE) or DEFAULT_ROOT).expanduser().absolute()
    return root / digest_of(model)


def is_prepared(folder: Path, recipe: str) -> bool:
    """True when the folder was finished, by the same maker."""
    try:
        marker = json.loads((folder / MARKER).read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(marker, dict) and marker.get("recipe") == recipe


def mark_prepared(folder: Path, recipe: str) -> None:
    """Say that a folder is finished."""
    (folder / MARKER).write_text(json.dumps({"recipe": recipe}) + "\n")
