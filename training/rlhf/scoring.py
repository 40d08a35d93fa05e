"""Scores of a trained reward model, on the scale that was stored with it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from training.rlhf import language
from training.rlhf.errors import TrainingError
from training.rlhf.models import (
    autocast,
    context_length,
    device,
    load_renderer,
    load_reward_model,
    read_card,
    score_texts,
    scores_every_token,
    tokens_per_pass,
)
from training.rlhf.prefix import can_share, lay_out_groups
from training.rlhf.rendering import CUT_OFF, Rendered, Renderer

Messages = Sequence[Mapping[str, str]]


class Scorer:
    """A reward model with its tokenizer and its normalisation.

    Score = (mean of the heads - ``mean``) / ``std``, less ``pessimism`` times the variance of the
    heads on that scale (2310.02743, UWO). ``shifts`` are what the heads differ by on average: the
    loss leaves the level of each open, so that it must not count as disagreement.

    Raises:
        TrainingError: ``pessimism`` without a second head, which it could not change anything by.
    """

    def __init__(
        self,
        model: Any,
        renderer: Renderer,
        mean: float = 0.0,
        std: float = 1.0,
        *,
        shifts: Sequence[float] = (0.0,),
        pessimism: float = 0.0,
    ) -> None:
        if pessimism and model.config.num_labels == 1:
            raise TrainingError(
                "pessimism is held against what several score heads disagree about, and the "
                "reward model has one: train one with params.heads of 2 or more"
            )
        self.model = model
        self.renderer = renderer
        self.mean = mean
        self.std = std
        self.shifts = torch.tensor(shifts)
        self.pessimism = pessimism

    @classmethod
    def load(cls, name: str, pessimism: float = 0.0) -> Scorer:
        """Models made elsewhere keep their own scale.

        Raises:
            TrainingError: there is no score head, or a model made here has lost its scale.
        """
        model, card = load_reward_model(name), read_card(name)
        if card and not {"reward_mean", "reward_std"} <= card.keys():
            raise TrainingError(
                f"podium.json in {name} lacks reward_mean or reward_std, the scale of the scores: "
                "put back the file as the run wrote it"
            )
        if likelihood := card.get("likelihood"):
            language.read(model, Path(name))
            language.count(model, likelihood)
        return cls(
            model,
            load_renderer(name),
            float(card.get("reward_mean", 0.0)),
            float(card.get("reward_std", 1.0)),
            shifts=card.get("reward_shifts", (0.0,)),
            pessimism=pessimism,
        )

    def score(self, texts: Sequence[Rendered]) -> Tensor:
        """(len(texts),) float32 on the CPU.

        Raises:
            TrainingError: a score is not finite.
        """
        heads = (
            raw_head_scores(self.model, texts, self.renderer.pad_id) - self.shifts - self.mean
        ) / self.std
        scores = heads.mean(-1) - self.pessimism * heads.var(-1, unbiased=False)
        if not torch.isfinite(scores).all():
            raise TrainingError(
                "the reward model gives scores that are not finite numbers: its weights or the "
                "scale in its podium.json are damaged; train it anew or copy it again"
            )
        return scores

    def room(self, renderer: Renderer, *models: Any) -> int:
        """The longest text, in tokens of ``renderer``, that the models and the scorer can read.

        A scorer of another vocabulary counts in other tokens and does not limit these: it is asked
        for ``refusal``.
        """
        readers = [*models, self.model] if self.renderer.same_vocabulary(renderer) else models
        return min(map(context_length, readers))

    def refusal(self, messages: Messages, renderer: Renderer, limit: int) -> str | None:
        """Why answers of ``limit`` tokens of ``renderer`` to a prompt could not be read; or None.

        One of the same vocabulary reads what it has ``room`` for. Another one counts the same text
        in other tokens, about as many.
        """
        if self.renderer.same_vocabulary(renderer):
            return None
        if not self.renderer.accepts(messages):
            return "refused_by_template_of_reward_model"
        if len(self.renderer.prompt_ids(messages)) + limit > context_length(self.model):
            return "too_long_for_reward_model"
        return None

    def reads(self, messages: Messages, text: Rendered, renderer: Renderer) -> bool:
        """Whether the reward model's context holds a text of ``renderer``'s vocabulary."""
        return len(self._own(messages, text, renderer)) <= context_length(self.model)

    def score_completions(
        self, conversations: Sequence[Messages], texts: Sequence[Rendered], renderer: Renderer
    ) -> Tensor:
        """Scores of what a policy wrote, whatever its vocabulary: (len(texts),).

        ``texts`` are ids of ``renderer``, the policy's. Where the reward model has the same
        vocabulary and template, those very ids are scored; otherwise the text is rendered anew, by
        the rule by which the reward model was trained.

        Raises:
            TrainingError: a text is too long for the reward model.
        """
        texts = [
            self._own(messages, text, renderer)
            for messages, text in zip(conversations, texts, strict=True)
        ]
        longest, room = max(texts, key=len, default=None), context_length(self.model)
        if longest is not None and len(longest) > room:
            raise TrainingError(
                f"a prompt of {len(longest.prompt_ids)} tokens with its completion has "
                f"{len(longest)} tokens for the reward model, which takes {room}: lower "
                "max_new_tokens or leave out prompts of such a length"
            )
        return self.score(texts)

    def _own(self, messages: Messages, text: Rendered, renderer: Renderer) -> Rendered:
        """A text of ``renderer``'s vocabulary in the reward model's."""
        if self.renderer.same_vocabulary(renderer):
            return text
        ids = text.completion_ids
        ended = ids[-1:] == [renderer.end_id]
        completion = {
            "text": renderer.text(ids[:-1] if ended else ids),
            "finish_reason": "stop" if ended else CUT_OFF,
        }
        return self.renderer.render(messages, completion)


def raw_scores(model: Any, texts: Sequence[Rendered], pad_id: int) -> Tensor:
    """The mean of the heads at the last token of each text: (N,) float32 on the CPU."""
    return raw_head_scores(model, texts, pad_id).mean(-1)


@torch.no_grad()
def raw_head_scores(model: Any, texts: Sequence[Rendered], pad_id: int) -> Tensor:
    """What each head says at the last token of each text: (N, H) float32 on the CPU.

    Completions of one prompt share it where the model can.
    """
    share = scores_every_token(model) and can_share(model)
    scores = torch.empty(len(texts), model.config.num_labels)
    for rows in _passes(texts, share):
        by_prompt = itertools.groupby(rows, key=lambda row: texts[row].prompt_ids)
        groups = [(ids, [texts[row].completion_ids for row in of]) for ids, of in by_prompt]
        batch = lay_out_groups(groups, pad_id, share=share)
        on_device = {name: tensor.to(device()) for name, tensor in batch.items()}
        with autocast():
            scores[rows] = score_texts(model, on_device).float().cpu()
    return scores


def _passes(texts: Sequence[Rendered], share: bool) -> Iterator[list[int]]:
    """Rows that fit in one pass: of like length or, where it is shared, of one prompt in a run.

    Longest first, so that running out of memory happens at once or never.
    """
    longest: dict[tuple[int, ...], int] = {}
    keys = [tuple(text.prompt_ids[:-1]) if share else () for text in texts]
    for key, text in zip(keys, texts, strict=True):
        longest[key] = max(len(text), longest.get(key, 0))
    order = sorted(
        range(len(texts)), key=lambda row: (-longest[keys[row]], keys[row], -len(texts[row]), row)
    )
    taken = _Load()
    rows: list[int] = []
    for row in order:
        more = taken.with_text(keys[row], texts[row])
        if rows and more.tokens > tokens_per_pass():
            yield rows
            rows, more = [], _Load().with_text(keys[row], texts[row])
        rows.append(row)
        taken = more
    if rows:
        yield rows


@dataclass(frozen=True)
class _Load:
    """Encoded tokens of one pass: texts as wide as the widest, prompts as wide as the longest."""

    texts: int = 0
    width: int = 0
    prompts: int = 0
    prompt: int = 0
    last: tuple[int, ...] | None = None

    @property
    def tokens(self) -> int:
        return self.texts * self.width + self.prompts * self.prompt

    def with_text(self, shared: tuple[int, ...], text: Rendered) -> _Load:
        return _Load(
            self.texts + 1,
            max(self.width, len(text) - len(shared)),
            self.prompts + (shared != self.last),
            max(self.prompt, len(shared)),
            shared,
        )
