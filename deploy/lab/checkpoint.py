"""Training state on disk, and its export as a model folder that engines load."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from network import Network, Shape
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedTokenizerFast


def save_state(path: Path, network: Network, rest: dict[str, Any]) -> None:
    """Write the network and the counters in one go, so that a kill never leaves half a file."""
    scratch = path.with_suffix(".part")
    torch.save({"shape": asdict(network.shape), "network": network.state_dict(), **rest}, scratch)
    scratch.replace(path)


def load_state(path: Path, network: Network) -> dict[str, Any]:
    """Fill the network from a file and return everything else in it."""
    state: dict[str, Any] = torch.load(path, weights_only=True)
    network.load_state_dict(state["network"])
    return state


def tensors_of(network: Network) -> dict[str, Tensor]:
    """Weights by the names of DeepSeek checkpoints, experts one by one, in bf16; the router bias stays fp32."""
    shape = network.shape
    out: dict[str, Tensor] = {}
    for name, value in network.state_dict().items():
        full = name if name.startswith("lm_head") else f"model.{name}"
        if name.endswith("experts.gate_up"):
            for index in range(shape.experts):
                gate, up = value[index].T.chunk(2, dim=0)
                stem = full.replace("experts.gate_up", f"experts.{index}")
                out[f"{stem}.gate_proj.weight"], out[f"{stem}.up_proj.weight"] = gate, up
        elif name.endswith("experts.down"):
            for index in range(shape.experts):
                out[full.replace("experts.down", f"experts.{index}") + ".down_proj.weight"] = value[index].T
        else:
            out[full] = value
    kept = {name: value.bfloat16().contiguous() for name, value in out.items()}
    return {name: value.float() if name.endswith("correction_bias") else value for name, value in kept.items()}


def config_of(shape: Shape, tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    """config.json in the older keys, which every engine of the lab reads."""
    return {
        "architectures": ["DeepseekV3ForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "first_k_dense_replace": shape.dense_layers,
        "hidden_act": "silu",
        "hidden_size": shape.hidden,
        "initializer_range": 0.02,
        "intermediate_size": shape.dense_inner,
        "kv_lora_rank": shape.kv_lora,
        "max_position_embeddings": shape.positions,
        "model_type": "deepseek_v3",
        "moe_intermediate_size": shape.expert_inner,
        "moe_layer_freq": 1,
        "n_group": 1,
        "n_routed_experts": shape.experts,
        "n_shared_experts": 1,
        "norm_topk_prob": True,
        "num_attention_heads": shape.heads,
        "num_experts_per_tok": shape.active,
        "num_hidden_layers": shape.layers,
        "num_key_value_heads": shape.heads,
        "num_nextn_predict_layers": 0,
        "q_lora_rank": shape.q_lora,
        "qk_nope_head_dim": shape.nope,
        "qk_rope_head_dim": shape.rope,
        "rms_norm_eps": shape.norm_eps,
        "rope_interleave": True,
        "rope_scaling": {
            "type": "yarn",
            "rope_type": "yarn",
            "factor": 1.0,
            "original_max_position_embeddings": shape.positions,
            "beta_fast": 32.0,
            "beta_slow": 1.0,
            "mscale": 1.0,
            "mscale_all_dim": 1.0,
        },
        "rope_theta": shape.rope_theta,
        "routed_scaling_factor": shape.routed_scaling,
        "scoring_func": "sigmoid",
        "tie_word_embeddings": False,
        "topk_group": 1,
        "topk_method": "noaux_tc",
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "v_head_dim": shape.value,
        "vocab_size": shape.vocab,
    }


def export(network: Network, folder: Path) -> None:
    """Write weights, config.json and generation_config.json beside the tokenizer."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    scratch = folder / "model.safetensors.part"
    save_file(tensors_of(network), scratch, metadata={"format": "pt"})
    scratch.chmod(0o644)
    scratch.replace(folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config_of(network.shape, tokenizer), indent=2) + "\n")
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    generation = {**ids, "do_sample": False}
    (folder / "generation_config.json").write_text(json.dumps(generation, indent=2) + "\n")


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="Write the trained weights into the model folder.")
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--model", type=Path, default=Path(__file__).with_name("k2-tiny"))
    options = parser.parse_args()
    shape = Shape(**torch.load(options.state, weights_only=True)["shape"])
    network = Network(shape)
    state = load_state(options.state, network)
    export(network, options.model)
    print(f"wrote {options.model} from step {state['step']}, {state['tokens']} tokens")


if __name__ == "__main__":
    main()
