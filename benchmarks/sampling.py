"""Sampling a pool: 64 prompts, 9 completions each, against ``generate`` prompt by prompt.

The model is the starter model; its prompts are those of the starter world. Both sides draw at
temperature 1 and stop at the end token or after 64 tokens.
"""

from __future__ import annotations

import torch
from transformers import AutoModelForCausalLM

from benchmarks import STARTER
from benchmarks.timing import compare
from training.jobs.world import starter_prompts
from training.rlhf.generate import Request, Sampling, generate
from training.rlhf.models import load_renderer

PROMPTS = 64
COMPLETIONS = 9
MAX_NEW_TOKENS = 64
AT_ONCE = 8


def main() -> None:
    renderer = load_renderer(str(STARTER))
    model = AutoModelForCausalLM.from_pretrained(STARTER, dtype=torch.float32).eval()
    prompts = [renderer.prompt_ids(_messages(line)) for line in starter_prompts(PROMPTS)]
    how = Sampling(1.0, 1.0, renderer.end_id, renderer.pad_id)

    def ours() -> None:
        for start in range(0, PROMPTS, AT_ONCE):
            batch = prompts[start : start + AT_ONCE]
            generate(
                model, [Request(ids, range(COMPLETIONS), MAX_NEW_TOKENS) for ids in batch], how
            )

    def peer() -> None:
        for ids in prompts:
            model.generate(
                torch.tensor([ids]), do_sample=True, temperature=1.0, top_k=0, top_p=1.0,
                num_return_sequences=COMPLETIONS, max_new_tokens=MAX_NEW_TOKENS,
                eos_token_id=renderer.end_id, pad_token_id=renderer.pad_id,
            )  # fmt: skip

    compare("sampling_64x9", 2.5, ours, peer)


def _messages(line: dict[str, object]) -> object:
    return line.get("messages") or [{"role": "user", "content": line["prompt"]}]


if __name__ == "__main__":
    main()
