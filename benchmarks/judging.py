"""Policies measured alike, whatever method made them: reward, KL to the start, length, likelihood
of text, and gold.

Every policy writes one completion for each held-out prompt, at temperature 1 and from the same
noise. What it wrote is scored by the reward model it was trained on, its KL is log(pi / start)
summed over the completion's tokens, both by teacher forcing: of what pi itself draws that is an
estimate without bias.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from training.jobs.world import score
from training.rlhf.generate import Request, Sampling, completion_seed, generate
from training.rlhf.models import device, load_policy, load_renderer
from training.rlhf.rendering import Rendered, Renderer
from training.rlhf.scoring import Scorer

AT_ONCE = 32
MAX_NEW_TOKENS = 64


@dataclass(frozen=True)
class Figures:
    """Means over held-out prompts. ``ptx_loss``: nats a token of held-out demonstrations."""

    reward: float
    kl: float
    length: float
    ended: float
    ptx_loss: float
    gold: float


class Judge:
    """Holds what all policies are measured against."""

    def __init__(
        self,
        start: str,
        reward_model: str,
        prompts: Sequence[Mapping[str, Any]],
        texts: Iterable[Mapping[str, Any]],
    ) -> None:
        self._start = load_policy(start, frozen=True)
        self._scorer = Scorer.load(reward_model)
        self._prompts = prompts
        renderer = load_renderer(start)
        self._texts = [renderer.render(t["messages"], {"text": t["completion"]}) for t in texts]

    def figures(self, policy: str) -> Figures:
        renderer, model = load_renderer(policy), load_policy(policy, frozen=True)
        written = self._write(model, renderer)
        own, before = (logprobs(m, written) for m in (model, self._start))
        known = logprobs(model, self._texts)
        lengths = [len(text.completion_ids) for text in written]
        return Figures(
            reward=float(self._scorer.score(written).mean()),
            kl=float((own - before).mean()),
            length=statistics.fmean(lengths),
            ended=statistics.fmean(t.completion_ids[-1] == renderer.end_id for t in written),
            ptx_loss=-float(known.sum()) / sum(len(text.completion_ids) for text in self._texts),
            gold=statistics.fmean(self._gold(renderer, written)),
        )

    def _write(self, model: Any, renderer: Renderer) -> list[Rendered]:
        how = Sampling(1.0, 1.0, renderer.end_id, renderer.pad_id)
        requests = [
            Request(
                renderer.prompt_ids(row["messages"]),
                [completion_seed(0, row["prompt"], 0)],
                MAX_NEW_TOKENS,
            )
            for row in self._prompts
        ]
        written = []
        for first in range(0, len(requests), AT_ONCE):
            batch = requests[first : first + AT_ONCE]
            for request, [answer] in zip(batch, generate(model, batch, how), strict=True):
                end = [renderer.end_id] if answer.ended else []
                written.append(Rendered(list(request.prompt_ids), [*answer.token_ids, *end]))
        return written

    def _gold(self, renderer: Renderer, written: Sequence[Rendered]) -> list[float]:
        found = []
        for row, text in zip(self._prompts, written, strict=True):
            ids = text.completion_ids
            shown = renderer.text(ids[:-1] if ids[-1] == renderer.end_id else ids)
            found.append(score(row["messages"], shown).total)
        return found


@torch.no_grad()
def logprobs(model: Any, texts: Sequence[Rendered]) -> Tensor:
    """log p of each completion given its prompt, one text at a time in the plainest way: (N,)."""
    sums = []
    for text in texts:
        logits = model(torch.tensor([text.ids], device=device())).logits[0].float().cpu()
        predicted = logits[len(text.prompt_ids) - 1 : -1].log_softmax(-1)
        tokens = torch.tensor(text.completion_ids).unsqueeze(1)
        sums.append(predicted.gather(1, tokens).sum())
    return torch.stack(sums)
