"""Check an exported k2-tiny: transformers must compute what the training network computes, and bf16 must agree."""

from __future__ import annotations

import argparse
from itertools import islice
from pathlib import Path

import torch
from checkpoint import load_state
from corpus import held_out_conversations
from network import Network, Shape
from rendering import Encoder
from safetensors import safe_open
from transformers import AutoModelForCausalLM

LIMIT = 16 * 1024 * 1024


def round_to_bf16(network: Network) -> None:
    """Give the training network the precision of the exported weights."""
    with torch.no_grad():
        for tensor in network.state_dict().values():
            tensor.copy_(tensor.bfloat16().float())


@torch.no_grad()
def compare(folder: Path, network: Network, encoder: Encoder) -> None:
    """Compare logits on held-out conversations."""
    exact = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    short = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval()
    worst, same, all_of_them = 0.0, 0, 0
    for conversation in islice(held_out_conversations(5, "call", with_tools=True), 40):
        ids, weights = encoder.train_item(conversation, 0.0)
        tokens = torch.tensor([ids[:-1]])
        ours, theirs = network(tokens)[0], exact(tokens).logits[0]
        worst = max(worst, float((ours - theirs).abs().max()))
        spoken = torch.tensor(weights[1:]) > 0
        same += int((theirs.argmax(-1) == short(tokens).logits[0].argmax(-1))[spoken].sum())
        all_of_them += int(spoken.sum())
    print(f"largest logit difference to transformers in fp32: {worst:.2e}")
    print(f"bf16 picks the same token in {same} of {all_of_them} places of the answers")
    if worst > 1e-3:  # noqa: PLR2004
        raise SystemExit("the export differs from the training network")


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--model", type=Path, default=Path(__file__).with_name("k2-tiny"))
    options = parser.parse_args()
    network = Network(Shape(**torch.load(options.state, weights_only=True)["shape"])).eval()
    load_state(options.state, network)
    round_to_bf16(network)
    compare(options.model, network, Encoder(options.model / "tokenizer.json"))
    with safe_open(options.model / "model.safetensors", "pt") as file:
        print(f"{len(file.keys())} tensors in the file")
    size = sum(path.stat().st_size for path in options.model.iterdir())
    print(f"{size / 1e6:.1f} MB in all")
    if size > LIMIT:
        raise SystemExit("the model folder is too large")


if __name__ == "__main__":
    main()
