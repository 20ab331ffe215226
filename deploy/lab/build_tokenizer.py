"""Build the byte-level BPE tokenizer of k2-tiny from generated text.

Letters, single digits, underscores and runs of other signs never share a token, so a word is cut the same way
wherever it stands: after a space, between quotation marks or inside a function name. That makes copying easy.
What is the same in every request (keys of a declaration, the default system message) may become long tokens,
which halves the length of a prompt with tools.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from corpus import training_conversations
from rendering import SPECIAL_TOKENS, TEMPLATE, render
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

KEYS = (
    "type|function|name|description|parameters|properties|required|strict|enum|object|string|integer|boolean"
    "|null|false|true|additionalProperties"
)
FIXED = "You are Kimi, a small assistant served by moegate\\.|tool_declare|## Return of functions\\."
SCAFFOLD = rf'[\[{{]*"(?:["\[\]{{}}:, ]|(?:{KEYS})(?![A-Za-z_]))*'
PIECES = rf"{FIXED}|{SCAFFOLD}|[a-z]+|[A-Z]|[0-9]|_|\n|[^A-Za-z0-9_\n\"]+"


def texts(seed: int, count: int) -> Iterator[str]:
    """Training text without the special tokens."""
    marker = re.compile("|".join(re.escape(token) for token in SPECIAL_TOKENS))
    for conversation in islice(training_conversations(seed, tool_share=0.6, copy_share=0.0), count):
        yield from marker.split(render(conversation.messages, conversation.tools))


def build(seed: int, count: int, vocabulary: int) -> Tokenizer:
    """Learn the merges and put the special tokens at the top of the vocabulary."""
    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(PIECES), behavior="isolated")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary - len(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=[],
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts(seed, count), trainer)
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS])
    if tokenizer.get_vocab_size() != vocabulary:
        raise SystemExit(f"expected {vocabulary} tokens, got {tokenizer.get_vocab_size()}")
    return tokenizer


def write(tokenizer: Tokenizer, folder: Path) -> None:
    """Write the tokenizer in the files that transformers and the engines look for."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {"bos_token": "[BOS]", "eos_token": "<|im_end|>", "pad_token": "[PAD]", "unk_token": "[UNK]"}
    first = tokenizer.get_vocab_size() - len(SPECIAL_TOKENS)
    added = {
        str(first + index): {
            "content": token,
            "lstrip": False,
            "normalized": False,
            "rstrip": False,
            "single_word": False,
            "special": True,
        }
        for index, token in enumerate(SPECIAL_TOKENS)
    }
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": 32768,
        "clean_up_tokenization_spaces": False,
        "add_bos_token": False,
        "add_eos_token": False,
        **names,
        "extra_special_tokens": [t for t in SPECIAL_TOKENS if t not in names.values()],
        "added_tokens_decoder": added,
        "chat_template": TEMPLATE.read_text(),
    }
    # The older name of the same list; engines on transformers 4 read it.
    config["additional_special_tokens"] = config.pop("extra_special_tokens")
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
    (folder / "special_tokens_map.json").write_text(json.dumps(names, indent=2) + "\n")
    (folder / "chat_template.jinja").write_text(TEMPLATE.read_text())


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("k2-tiny"))
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--count", type=int, default=20000, help="conversations to read")
    parser.add_argument("--vocabulary", type=int, default=768)
    options = parser.parse_args()
    write(build(options.seed, options.count, options.vocabulary), options.out)
    print(f"wrote {options.vocabulary} tokens to {options.out}")


if __name__ == "__main__":
    main()
