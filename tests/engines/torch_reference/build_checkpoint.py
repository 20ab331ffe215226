"""Builds small checkpoints of Kimi K2's architecture for these tests; runs in the engine's environment, never inside pytest.

`random`: random weights, for numbers that must agree with a plain forward pass.
`scripted`: every layer adds nothing and the output layer maps each token to one fixed successor, so that a real
forward pass speaks a text chosen here: split characters, a tool call, its own end. That makes streaming testable to the byte.
"""

import argparse
import itertools
import json
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import DeepseekV3Config, DeepseekV3ForCausalLM, PreTrainedTokenizerFast

SPECIAL_TOKENS = (
    "[BOS]",
    "[EOS]",
    "[PAD]",
    "<|im_end|>",
    "<|im_user|>",
    "<|im_assistant|>",
    "<|im_system|>",
    "<|im_middle|>",
    "<|tool_calls_section_begin|>",
    "<|tool_calls_section_end|>",
    "<|tool_call_begin|>",
    "<|tool_call_argument_begin|>",
    "<|tool_call_end|>",
)

# What the scripted model says after a chat prompt. No token may occur twice: its successor would be ambiguous.
SCRIPT = (
    "Grün日🌍!"
    "<|tool_calls_section_begin|><|tool_call_begin|>functions.get_weather:0<|tool_call_argument_begin|>"
    '{"city":"Oslo"}'
    "<|tool_call_end|><|tool_calls_section_end|><|im_end|>"
)
PIECES = r"functions|\.get_weather|:0|\{\"city\":\"|Oslo|\"\}| ?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]+|\s+"
CORPUS = (
    ["functions", ".get_weather", ":0", '{"city":"', "Oslo", '"}'] * 50
    + ["the quick brown fox jumps over the lazy dog", "what is the weather in a city and how are you today"] * 20
    + ["moegate routes each request to the engine that should serve it", "system user assistant tool_declare"] * 20
)

CHAT_TEMPLATE = """\
{%- if tools -%}<|im_system|>tool_declare<|im_middle|>{{ tools | tojson }}<|im_end|>{%- endif -%}
{%- for message in messages -%}
{%- if loop.first and message.role != 'system' -%}<|im_system|>system<|im_middle|>You are a helpful assistant<|im_end|>{%- endif -%}
{%- if message.role == 'user' -%}<|im_user|>user<|im_middle|>
{%- elif message.role == 'assistant' -%}<|im_assistant|>assistant<|im_middle|>
{%- else -%}<|im_system|>{{ message.role }}<|im_middle|>
{%- endif -%}
{%- if message.role == 'tool' -%}{{ '## Return of ' + message.tool_call_id + '\\n' }}{%- endif -%}
{{ message.content or '' }}
{%- if message.tool_calls -%}<|tool_calls_section_begin|>
{%- for call in message.tool_calls -%}
<|tool_call_begin|>{{ call.id }}<|tool_call_argument_begin|>{{ call.function.arguments }}<|tool_call_end|>
{%- endfor -%}<|tool_calls_section_end|>{%- endif -%}
<|im_end|>
{%- endfor -%}
{%- if add_generation_prompt -%}<|im_assistant|>assistant<|im_middle|>{%- endif -%}
"""


def build_tokenizer() -> Tokenizer:
    """Return a byte-level BPE tokenizer with Kimi's special tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=560,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=list(SPECIAL_TOKENS),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def build_model(vocab_size: int, end_id: int) -> DeepseekV3ForCausalLM:
    """Return a randomly initialised model with the dimensions that every engine accepts."""
    config = DeepseekV3Config(
        vocab_size=vocab_size, hidden_size=256, intermediate_size=512, moe_intermediate_size=128, num_hidden_layers=3,
        num_attention_heads=4, num_key_value_heads=4, n_shared_experts=1, n_routed_experts=16, num_experts_per_tok=4,
        q_lora_rank=64, kv_lora_rank=512, qk_rope_head_dim=64, qk_nope_head_dim=64, v_head_dim=64, n_group=1,
        topk_group=1, first_k_dense_replace=1, routed_scaling_factor=2.827, max_position_embeddings=4096,
        num_mtp_layers=0, bos_token_id=0, eos_token_id=end_id, tie_word_embeddings=False,
        rope_parameters={"rope_type": "default", "rope_theta": 50000.0},
    )  # fmt: skip
    torch.manual_seed(7)
    model = DeepseekV3ForCausalLM(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            # Wider than the usual 0.02: near-tied logits would make greedy tests flip on the last bit.
            if weight.ndim > 1:
                weight.normal_(0.0, 0.06 if "embed" not in name else 1.0)
    return model.eval()


def script_model(model: DeepseekV3ForCausalLM, script: list[int], start: int) -> None:
    """Turn the model into one that follows `script` from `start`, token by token."""
    path = [start, *script]
    if len(set(path)) != len(path):
        msg = f"a token occurs twice in the script: {path}"
        raise ValueError(msg)
    vocab_size = model.config.vocab_size
    rest = [token for token in range(vocab_size) if token not in set(path[:-1])]
    successor = dict(zip(rest, rest[1:] + rest[:1], strict=True)) | dict(itertools.pairwise(path))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight", "down_proj")):
                weight.zero_()
        model.lm_head.weight.zero_()
        for token, following in successor.items():
            model.lm_head.weight[following] += model.model.embed_tokens.weight[token] / 8


def write_config(folder: Path) -> None:
    """Rewrite config.json in the older keys that all engines read."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config.pop("rope_parameters", None)
    config |= {
        "rope_theta": 50000.0,
        "rope_scaling": {
            "type": "yarn", "factor": 1.0, "original_max_position_embeddings": 4096, "beta_fast": 32.0,
            "beta_slow": 1.0, "mscale": 1.0, "mscale_all_dim": 1.0,
        },
        "scoring_func": "sigmoid", "topk_method": "noaux_tc", "num_nextn_predict_layers": 0,
    }  # fmt: skip
    path.write_text(json.dumps(config, indent=2))


def main() -> None:
    """Write one checkpoint folder."""
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=("random", "scripted"))
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    raw = build_tokenizer()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, bos_token="[BOS]", eos_token="[EOS]", pad_token="[PAD]", chat_template=CHAT_TEMPLATE
    )
    end_id = raw.token_to_id("<|im_end|>")
    model = build_model(raw.get_vocab_size(), end_id)
    if arguments.kind == "scripted":
        script_model(model, raw.encode(SCRIPT).ids, raw.token_to_id("<|im_middle|>"))
    model.save_pretrained(arguments.folder)
    tokenizer.save_pretrained(arguments.folder)
    write_config(arguments.folder)


if __name__ == "__main__":
    main()
