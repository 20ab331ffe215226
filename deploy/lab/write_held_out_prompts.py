"""Write prompts that the lab model was never trained on, as `moegate engines verify --prompts` reads them."""

from __future__ import annotations

import argparse
import json
from itertools import islice
from pathlib import Path

from corpus import held_out_conversations

# name, skill, tools declared, exchanges
KINDS = [
    ("fact", "fact", False, 1),
    ("sum", "sum", False, 1),
    ("repeat", "repeat", False, 1),
    ("transform", "transform", False, 1),
    ("json", "json", False, 1),
    ("memory", "memory", False, 1),
    ("lookup", "lookup", False, 1),
    ("call", "call", True, 1),
    ("later_call", "call", True, 3),
    ("text_with_tools", "text", True, 1),
    ("which_tool", "which_tool", True, 1),
]


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=2024)
    parser.add_argument("--count", type=int, default=3, help="prompts of each kind")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("held_out_prompts.jsonl"))
    options = parser.parse_args()
    lines = []
    for name, skill, with_tools, exchanges in KINDS:
        drawn = held_out_conversations(options.seed, skill, with_tools=with_tools, exchanges=exchanges)
        for number, conversation in enumerate(islice(drawn, options.count), start=1):
            # Up to the last answer, which is what the engines shall write.
            messages = conversation.messages
            last = max(index for index, message in enumerate(messages) if message["role"] == "assistant")
            prompt = {"name": f"{name}_{number}", "messages": messages[:last]}
            if conversation.tools:
                # The declarations' outer shape is OpenAI's: engines refuse others.
                prompt["tools"] = [
                    tool if "function" in tool else {"type": "function", "function": tool}
                    for tool in conversation.tools
                ]
            lines.append(json.dumps(prompt, ensure_ascii=False))
    options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"wrote {len(lines)} prompts to {options.out}")


if __name__ == "__main__":
    main()
