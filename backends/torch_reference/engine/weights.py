"""Loads a checkpoint's weights into transformers' model and refuses what does not fit; it must not run the model."""

from typing import Any

import torch
from transformers import DeepseekV3Config, DeepseekV3ForCausalLM

from backends.torch_reference.engine.checkpoint import Checkpoint, refusal

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def load_model(checkpoint: Checkpoint, dtype: str) -> DeepseekV3ForCausalLM:
    """Return the model, ready to run."""
    # Kimi K2 calls the same architecture kimi_k2, a name that transformers does not know.
    config = DeepseekV3Config.from_dict(checkpoint.config | {"model_type": "deepseek_v3"})
    try:
        loaded: Any = DeepseekV3ForCausalLM.from_pretrained(
            checkpoint.folder,
            config=config,
            dtype=_DTYPES[dtype],
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            # The modelling file's own loop over experts, not a fused kernel: it is the definition.
            experts_implementation="eager",
            # Both are so that what does not fit is listed, and refused below with the names.
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    except Exception as error:
        # safetensors and transformers raise errors of many kinds; a reader wants one line of any.
        raise refusal(f"the weights cannot be loaded: {' '.join(str(error).split())[:500]}") from error
    model, loading = loaded
    # transformers fills what is missing with random numbers and only warns.
    for problem in ("missing_keys", "mismatched_keys", "error_msgs"):
        if loading.get(problem):
            names = sorted(str(name) for name in loading[problem])
            raise refusal(f"the weights do not fit the architecture: {problem} {names[:3]}")
    built: DeepseekV3ForCausalLM = model.eval()
    return built
