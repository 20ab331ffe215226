"""Runs transformers itself on a checkpoint, for the tests to compare with; it shares no code with the engine.

Reads `{"prompts": [[ids]], "new_tokens": N, "conversations": [{messages, tools}]}` and writes what transformers makes of it.
"""

import json
import sys

import torch
from transformers import DeepseekV3ForCausalLM, PreTrainedTokenizerFast


def main() -> None:
    """Answer one job from standard input."""
    folder, job = sys.argv[1], json.load(sys.stdin)
    torch.set_num_threads(1)
    model = DeepseekV3ForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True).eval()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
    results = []
    for prompt in job["prompts"]:
        ids = torch.tensor([prompt])
        with torch.inference_mode():
            # No end token: every run has the same length, and ends are tested elsewhere.
            whole = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                do_sample=False,
                max_new_tokens=job["new_tokens"],
                eos_token_id=None,
                pad_token_id=0,
            )
            # One pass over everything, without a cache: what each token's log-probability should be.
            logprobs = torch.log_softmax(model(whole, use_cache=False).logits[0].float(), dim=-1)
        chosen = logprobs[:-1].gather(1, whole[0, 1:, None])[:, 0]
        results.append(
            {
                "generated": whole[0, len(prompt) :].tolist(),
                "logprobs": chosen.tolist(),
                "top": [
                    [values.tolist(), places.tolist()] for values, places in (row.topk(3) for row in logprobs[:-1])
                ],
                "text": tokenizer.decode(whole[0, len(prompt) :], skip_special_tokens=True),
            }
        )
    rendered = [
        tokenizer.apply_chat_template(
            conversation["messages"], tools=conversation.get("tools"), add_generation_prompt=True, return_dict=False
        )
        for conversation in job["conversations"]
    ]
    json.dump({"results": results, "rendered": rendered}, sys.stdout)


if __name__ == "__main__":
    main()
