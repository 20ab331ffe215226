"""Writes a model folder as one GGUF file with llama.cpp's own converter; runs in llama.cpp's environment.

llama.cpp has a fixed list of rules for cutting text into pieces before it merges bytes to tokens, and k2-tiny's rule is
none of them. Nearest is the one that cuts nothing but runs of digits. What is left then is that merges reach over
the places where the model's own rule would have cut. Two things keep them from it: the sentences that the rule keeps whole become
tokens that llama.cpp looks for first, and merges that only served to build them are left out.
"""

import json
import runpy
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

CONVERTER = Path(sys.prefix) / "share" / "llama.cpp"
RULE_WITHOUT_CUTS = "superbpe"
# The rule begins with the texts that are never cut, as alternatives; this is where the next kind of piece begins.
END_OF_FIXED = "|[\\["
MODEL_FILES = ("config.json", "generation_config.json", "chat_template.jinja", "tokenizer_config.json")
GPT2_BYTES = (range(33, 127), range(161, 173), range(174, 256))


def main(model: Path, folder: Path, precision: str) -> None:
    """Convert the model, with its tokenizer put in llama.cpp's terms."""
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        stage = Path(temporary)
        for name in MODEL_FILES:
            if (model / name).is_file():
                shutil.copy2(model / name, stage / name)
        for weights in model.glob("*.safetensors"):
            (stage / weights.name).symlink_to(weights)
        tokenizer = json.loads((model / "tokenizer.json").read_text())
        adapt(tokenizer)
        (stage / "tokenizer.json").write_text(json.dumps(tokenizer))
        _convert(stage, folder / "model.gguf", precision)


def adapt(tokenizer: dict[str, Any]) -> None:
    """Change a tokenizer of k2-tiny's kind so that it cuts nearly the same tokens under the rule without cuts."""
    fixed = _fixed_texts(tokenizer)
    model = tokenizer["model"]
    special = {token["content"] for token in tokenizer["added_tokens"]}
    model["merges"] = [pair for pair in model["merges"] if not _serves_only(_text_of("".join(pair)), fixed)]
    for token, number in list(model["vocab"].items()):
        text = _text_of(token)
        if text in fixed and text not in special:
            # A token that is looked for as it is stands in the vocabulary as it is, not in the letters that stand for bytes.
            del model["vocab"][token]
            model["vocab"][text] = number
            flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}
            tokenizer["added_tokens"].append({"id": number, "content": text, **flags})


def _fixed_texts(tokenizer: dict[str, Any]) -> list[str]:
    steps = (tokenizer.get("pre_tokenizer") or {}).get("pretokenizers", [])
    rule = next((step["pattern"]["Regex"] for step in steps if step["type"] == "Split"), "")
    head, mark, _ = rule.partition(END_OF_FIXED)
    return [text.replace("\\", "") for text in head.split("|")] if mark else []


def _serves_only(text: str, fixed: list[str]) -> bool:
    """True for a piece of a fixed text that spans more than one kind of sign: the rule would have cut it anywhere else."""
    kinds = {"letter" if sign.islower() else f"capital {place}" if sign.isupper() else "other"
             for place, sign in enumerate(text)}  # fmt: skip
    return len(kinds) > 1 and any(text in whole for whole in fixed)


def _text_of(token: str) -> str:
    # Byte-level tokenizers write bytes that cannot be shown as letters from further up.
    shown = [byte for span in GPT2_BYTES for byte in span]
    hidden = [byte for byte in range(256) if byte not in shown]
    table = {chr(byte): byte for byte in shown} | {chr(256 + place): byte for place, byte in enumerate(hidden)}
    return bytes(table[sign] for sign in token).decode(errors="replace") if set(token) <= set(table) else token


def _convert(stage: Path, target: Path, precision: str) -> None:
    sys.path[:0] = [str(CONVERTER), str(CONVERTER / "gguf-py")]
    from conversion.deepseek import DeepseekV2Model  # noqa: PLC0415 - found only once the path is set

    # The converter knows rules by the tokens they make of one sample text; ours is in no list. And if anything is wrong with
    # a tokenizer of this kind, it tries another kind and hides what was wrong.
    DeepseekV2Model.get_vocab_base_pre = lambda _model, _tokenizer: RULE_WITHOUT_CUTS
    DeepseekV2Model.set_vocab = DeepseekV2Model._set_vocab_gpt2  # noqa: SLF001 - the converter has no public way
    sys.argv = ["convert_hf_to_gguf.py", str(stage), "--outfile", str(target), "--outtype", precision]
    runpy.run_path(str(CONVERTER / "convert_hf_to_gguf.py"), run_name="__main__")
    if not target.is_file():
        sys.exit("the converter wrote no file")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
