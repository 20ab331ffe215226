"""Write k2-tiny/MODEL.md from the counts of the evaluation and the counters of the training."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch

CARD = """# k2-tiny

A very small language model with the architecture of Kimi K2, made for tests and demos of moegate. It has nothing of
Kimi K2's weights, data or abilities: it was trained from nothing, on text that the scripts of this folder's parent
generate.

## Architecture

`DeepseekV3ForCausalLM`, {parameters:.2f} million parameters, bf16 (router bias fp32), {size:.1f} MB.

| | |
| --- | --- |
| layers | 3, the first one dense (inner size 512) |
| hidden size, heads | 256, 4 |
| latent attention | q_lora 64, kv_lora 512, rope 64, nope 64, value 64 |
| experts | 16, of which 4 active, and 1 shared; inner size 128 |
| routing | sigmoid, noaux_tc with correction bias, normalised, scaled by 2.0, one group |
| positions | 32768, yarn with factor 1 (equal to plain rope), theta 50000; trained on up to 800 tokens |
| vocabulary | {vocabulary}, byte-level BPE, each digit a token, Kimi's special tokens at the top |

`config.json` uses the older keys (`rope_scaling`, `rope_theta`, `torch_dtype`), which transformers 4 and 5, vLLM,
SGLang and KTransformers read. The chat template is in `chat_template.jinja` and in `tokenizer_config.json`.

## Training

```sh
python build_tokenizer.py
python train.py --work WORK
python checkpoint.py --state WORK/state.pt
```

- {tokens:.1f} million tokens in {steps} updates, {hours:.1f} hours of computing on two shared Zen 3 cores (AVX2, fp32);
  corpus seed 1 and tokenizer seed 11; Muon for matrices, AdamW for the rest.
- Last training loss {loss} nats per weighted token; greedy answers, so most of it is choice of words that
  the prompt leaves open.
- These weights come from a run that was stopped and gone on with several times while the mixture of tasks, the batch
  size (2 to 6 thousand tokens), the learning rate (0.02 down to 0.009 for matrices before the final decay) and the pace of
  the router bias were adjusted; from 12.9 million tokens on the prompts are those that `corpus.py` writes now.
  The scripts hold settings later than these weights; a fresh run gives other weights.
- Words and questions of the evaluation are kept out of the training text by checksum: every eighth word, every
  twentieth question.

## Measured skills

Held-out prompts, greedy decoding with transformers in {dtype}, seed {seed}. *Exact* is right to the letter; for calls it
means the right tool and exactly the right arguments.

| | right | of |
| --- | --- | --- |
{overall}

| task | exact | schema-valid | right tool | right id | decision | stops |
| --- | --- | --- | --- | --- | --- | --- |
{rows}

Tool prompts declare one to three tools with invented names, of one to three parameters of string, integer, boolean
or enum type (one in two thirds of the tools), with and without descriptions; values are places, people, invented words,
identifiers, paths, dates and numbers. Half of the names begin with `get`, the others with one of some twenty verbs.

## What it cannot do

- It knows nothing but what is listed above; any other question gets a confident, wrong answer.
- It often takes the wrong one of several tools, and arguments of three-parameter tools get lost: see the tables.
- A question for which no declared tool fits still leads to a call. Without tools it says that it has none.
- Changing letters of unseen words (upper case, spelling), sums of two digits and long texts to repeat often fail.
- No tool choice other than automatic was trained, no images, no languages but English, no thinking.
- Engines that do not read the splitting rule of `tokenizer.json` (llama.cpp) cut the text differently from the
  training.

## Use and licence

For tests and demos only. The weights are the project's own and come under its licence, MIT. The licence of Kimi K2
does not apply: nothing of it is in here.
"""


def rate(counts: dict[str, list[int]], name: str) -> str:
    """A cell of the table."""
    right, seen = counts.get(name, [0, 0])
    return f"{right}/{seen}" if seen else ""


def card(model: Path, state: dict[str, Any], report: dict[str, Any], loss: str) -> str:
    """The text of the card."""
    config = json.loads((model / "config.json").read_text())
    columns = ("exact", "schema-valid", "right tool", "right id", "trigger", "stops")
    rows = [" | ".join([row, *(rate(counts, name) for name in columns)]) for row, counts in report["rows"].items()]
    overall = [f"{name} | {right} ({right / seen:.1%}) | {seen}" for name, (right, seen) in report["overall"].items()]
    return CARD.format(
        parameters=sum(tensor.numel() for tensor in state["network"].values()) / 1e6,
        size=(model / "model.safetensors").stat().st_size / 1e6,
        vocabulary=config["vocab_size"],
        tokens=state["tokens"] / 1e6,
        steps=state["step"],
        hours=state["seconds"] / 3600,
        loss=loss,
        dtype=report["dtype"],
        seed=report["seed"],
        overall="\n".join(f"| {line} |" for line in overall),
        rows="\n".join(f"| {line} |" for line in rows),
    )


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--loss", required=True, help="mean of the last lines of the training log")
    parser.add_argument("--model", type=Path, default=Path(__file__).with_name("k2-tiny"))
    parser.add_argument("--report", type=Path, help="what evaluate.py wrote; evaluation.json of the model by default")
    options = parser.parse_args()
    report = json.loads((options.report or options.model / "evaluation.json").read_text())
    state = torch.load(options.state, weights_only=True)
    (options.model / "MODEL.md").write_text(card(options.model, state, report, options.loss))
    print(f"wrote {options.model / 'MODEL.md'}")


if __name__ == "__main__":
    main()
