"""Step 2: a reward model from rankings, all comparisons of a prompt in one batch element.

TRL's trainer with another batch and another loss: it takes rows of one chosen and one rejected
text, which encodes each of K completions K - 1 times and spreads a prompt over many steps.

    loss = - mean over prompts of the mean over pairs of log sigmoid(r(winner) - r(loser))  (eq. 1)

Each round's task of a prompt is a batch element of its own, and "prompts" in the loss are these.
The split, the draws of an ensemble and the counts reported go by distinct conversations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from trl import RewardConfig, RewardTrainer

from training.jobs.params import RewardParams
from training.rlhf import artifacts, distributed, labelers, language, lora, reports, score_heads
from training.rlhf.comparisons import (
    Collator,
    Comparison,
    load_comparisons,
    to_rows,
    tokens_per_prompt,
    without_held_out_labelers,
)
from training.rlhf.demonstrations import render_demonstrations
from training.rlhf.errors import TrainingError
from training.rlhf.job import Job
from training.rlhf.kwise import KwiseTrainer
from training.rlhf.losses import pair_accuracy, pairwise_loss
from training.rlhf.models import (
    context_length,
    default_learning_rate,
    disable_dropout,
    load_renderer,
    new_reward_model,
    parameter_count,
    read_card,
    score_texts,
    scores_every_token,
)
from training.rlhf.prefix import can_share
from training.rlhf.rendering import Renderer
from training.rlhf.scoring import raw_head_scores, raw_scores
from training.rlhf.splitting import conversation, split
from training.rlhf.trainers import dataset, logged, recomputes_activations, settings, train

# Training prompts that the reported training accuracy is measured on, at most.
PROMPTS_FOR_TRAIN_ACCURACY = 256
# Where there are more, the unit of the scores is told by so many prompts, or up to twice as many.
PROMPTS_FOR_SCALE = 512


@dataclass(frozen=True)
class Data:
    """``judged`` is all there is, ``training`` and ``held_out`` have no prompt in common.

    What held-out labelers said about the training prompts is in ``judged`` alone.
    """

    judged: Sequence[Comparison]
    training: Sequence[Comparison]
    held_out: Sequence[Comparison]

    @property
    def taught_by(self) -> list[str]:
        return sorted({judged.labeler for c in self.training for judged in c.judgements})


@dataclass(frozen=True)
class Scale:
    """Score = (mean of the heads - mean) / std; ``shifts`` are the heads' own levels less mean."""

    mean: float
    std: float
    shifts: list[float]


def run(job: Job) -> None:
    params = job.spec.params
    assert isinstance(params, RewardParams)
    _refuse_what_sharding_breaks(params)
    _refuse_another_likelihood(job.spec.model)
    renderer = load_renderer(job.spec.model)
    model = new_reward_model(job.spec.model, params.heads, job.spec.seed)
    model.config.get_text_config().pad_token_id = renderer.pad_id
    max_length = min(params.max_length, context_length(model))
    data = _data(job, load_comparisons(job, renderer, max_length, held_out_labelers=True))
    rates = lora.learning_rate if params.lora_rank else default_learning_rate
    rate = params.learning_rate or rates("reward", parameter_count(model))
    with _adapted(job, model):
        trainer = _train(job, model, renderer, data, rate)
        model.eval()
        found = _report(job, model, renderer, data)
        scale = normalise(job, model, renderer, data.training, max_length)
    head = language.detach(model) if params.lm_coef or params.likelihood else None
    record, write_adapter = _merged(job, model)
    if params.likelihood:
        record["likelihood"] = model.likelihood.tolist()

    def beside(folder: Path) -> None:
        reports.write(folder, found)
        write_adapter(folder)
        if params.likelihood:
            language.write(head, folder)

    metrics = {
        **_headline(found),
        "loss": logged(trainer, "loss"),
        "pairs": _pairs(data.training),
        "prompts": _prompts(data.training),
        "validation_pairs": _pairs(data.held_out),
        "validation_prompts": _prompts(data.held_out),
        "learning_rate": rate,
    }
    artifacts.save_model(
        job,
        model,
        renderer,
        metrics,
        beside=beside,
        heads=params.heads,
        reward_mean=scale.mean,
        reward_std=scale.std,
        reward_shifts=scale.shifts,
        **record,
    )
    artifacts.finish(job, metrics)


class KwiseRewardTrainer(KwiseTrainer, RewardTrainer):  # type: ignore[misc]
    """TRL's reward trainer on batches of ``comparisons.Collator``."""

    def __init__(self, model: Any, *, options: RewardParams, **given: Any) -> None:
        disable_dropout(model)
        heads = model.config.num_labels
        # TRL takes one label only; the loss is ours.
        model.config.num_labels = 1
        super().__init__(model=model, **given)
        model.config.num_labels = heads
        self.options = options

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        scores, language_loss = self._scores(model, inputs)
        loss = pairwise_loss(
            scores,
            inputs["pairs"],
            inputs["weights"],
            self.options.margin * inputs["distances"],
            self.options.label_smoothing,
        )
        if language_loss is not None:
            self.record("language_loss", language_loss, inputs)
            loss = loss + self.options.lm_coef * language_loss
        right = pair_accuracy(scores.detach().mean(-1), inputs["pairs"])
        self.record("accuracy", (right * inputs["shares"]).sum(), inputs)
        loss = loss * self.share_of_step(inputs, num_items_in_batch)
        return (loss, scores) if return_outputs else loss

    def _scores(self, model: Any, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor | None]:
        """(N, H), and the language loss on the best completions if it is asked for."""
        if not self.options.lm_coef:
            return score_texts(model, inputs), None
        batch = {name: inputs[name] for name in score_heads.FIELDS if name in inputs}
        if not self.options.likelihood:
            # Nobody asks of the others.
            batch["completion_mask"] = batch["completion_mask"] * (inputs["best"] > 0).unsqueeze(1)
        scores, logprobs = model(**batch, language=True)
        return scores, -(inputs["best"] * logprobs).sum()


def normalise(
    job: Job,
    model: Any,
    renderer: Renderer,
    comparisons: Sequence[Comparison],
    max_length: int,
) -> Scale:
    """The shift and the scale that are stored with the model and applied wherever it scores.

    The loss leaves both open. Shift: demonstrations score 0 on average (InstructGPT, section 3.5),
    or else the ranked completions do. Scale: the ranked completions have standard deviation 1, as
    they show how far apart answers of the policy lie; demonstrations are few and alike, and so
    small a unit would drown the KL penalty. A few hundred prompts, from all over the data, tell it
    to a few percent.

    Several heads are first brought to one unit, in their weights: otherwise the loudest would
    outvote the others, and what they disagree about would be units.
    """
    step = max(1, len(comparisons) // PROMPTS_FOR_SCALE)
    texts = [text for comparison in comparisons[::step] for text in comparison.texts]
    ranked = raw_head_scores(model, texts, renderer.pad_id)
    units = ranked.std(0, unbiased=False).clamp(min=1e-6)
    factors = units.mean() / units
    score_heads.rescale(model, factors)
    ranked = ranked * factors
    written = render_demonstrations(
        job, renderer, job.demonstrations(), max_length, "normalisation"
    )
    shown = raw_head_scores(model, written, renderer.pad_id)
    levels = (shown if len(shown) else ranked).mean(0)
    std = ranked.mean(-1).std(unbiased=False).clamp(min=1e-6)
    mean = levels.mean()
    return Scale(float(mean), float(std), (levels - mean).tolist())


def _pairs(comparisons: Sequence[Comparison]) -> int:
    return sum(len(comparison.judgements) for comparison in comparisons)


def _prompts(comparisons: Sequence[Comparison]) -> int:
    """Each conversation counts once, however many rounds asked about it."""
    return len({conversation(comparison.row()) for comparison in comparisons})


def _refuse_what_sharding_breaks(params: RewardParams) -> None:
    """Raises TrainingError. Heads are put on one scale, and adapters merged, after the training: of
    weights that lie in parts, only a gathered copy would be changed.
    """
    spread = distributed.sharded()
    asked = "heads" if params.heads > 1 else "lora_rank" if params.lora_rank else "likelihood"
    if spread and (params.heads > 1 or params.lora_rank or params.likelihood):
        raise TrainingError(
            f"a reward run with {asked} cannot spread its weights over GPUs ({spread}): "
            "start it with accelerate/ddp.yaml"
        )


def _refuse_another_likelihood(name: str) -> None:
    """Raises TrainingError: a start whose score is not its head's alone would lose the rest."""
    if read_card(name).get("likelihood"):
        raise TrainingError(
            f"{name} is a reward model whose score counts the likelihood of an answer, and its "
            "training cannot go on from there: start from a language model"
        )


def resamples(comparisons: Sequence[Comparison], heads: int, seed: int) -> list[list[int]] | None:
    """How often each head counts each comparison. Conversations are drawn, with replacement, as
    many as there are; all comparisons of one, of whatever round, go with it.

    The heads of an ensemble disagree where the data does not settle a score; trained on the same
    prompts they would agree for no good reason. None for a single head, which takes all.
    """
    if heads == 1:
        return None
    numbers: dict[str, int] = {}
    drawn_as = [numbers.setdefault(conversation(c.row()), len(numbers)) for c in comparisons]
    random = np.random.default_rng(seed)
    drawn = random.multinomial(len(numbers), [1 / len(numbers)] * len(numbers), size=heads)
    counts: list[list[int]] = drawn.T[drawn_as].tolist()
    return counts


def _data(job: Job, comparisons: Sequence[Comparison]) -> Data:
    """Split, and count what held-out labelers said about the prompts to train on.

    Raises:
        TrainingError: they alone have ranked these prompts.
    """
    assert isinstance(job.spec.params, RewardParams)
    rows = [{**c.row(), "comparison": c} for c in comparisons]
    known, new = split(rows, job.spec.params.validation_share, job.spec.seed)
    given = [row["comparison"] for row in known]
    training = without_held_out_labelers(given)
    job.events.write(
        "data",
        part="split",
        training=len(training),
        validation=len(new),
        pairs_of_held_out_labelers=_pairs(given) - _pairs(training),
        prompts_of_held_out_labelers_alone=len(given) - len(training),
    )
    if not training:
        raise TrainingError("held-out labelers alone have ranked these prompts: nobody is left")
    return Data(comparisons, training, [row["comparison"] for row in new])


def _train(job: Job, model: Any, renderer: Renderer, data: Data, rate: float) -> Any:
    params = job.spec.params
    assert isinstance(params, RewardParams)
    # Recomputed activations allow no cache, hence no sharing.
    can = scores_every_token(model) and can_share(model)
    share = can and not recomputes_activations(model)
    arguments = settings(
        job,
        model,
        rows=len(data.training),
        batch_size=params.batch_prompts,
        epochs=params.epochs,
        learning_rate=rate,
        tokens_per_row=tokens_per_prompt(data.training, share=share),
    )
    rows = to_rows(
        data.training,
        _labeler_weights(job, data.training),
        resamples(data.training, params.heads, job.spec.seed % 2**32),
    )
    trainer = KwiseRewardTrainer(
        model=model,
        args=RewardConfig(**arguments),
        data_collator=Collator(renderer.pad_id, share),
        train_dataset=dataset(rows),
        processing_class=renderer.tokenizer,
        options=params,
    )
    train(job, trainer)
    return trainer


def _labeler_weights(job: Job, comparisons: Sequence[Comparison]) -> Mapping[str, float] | None:
    assert isinstance(job.spec.params, RewardParams)
    if not job.spec.params.labeler_weights:
        return None
    found = labelers.reliability(comparisons)
    job.events.write(
        "labelers",
        labelers=list(found.weights),
        weights=list(found.weights.values()),
        judged_twice=found.judged_twice,
        agreement=found.agreement,
        note="" if found.judged_twice else "no pair was judged twice: all labelers weigh the same",
    )
    return found.weights


def _report(job: Job, model: Any, renderer: Renderer, data: Data) -> dict[str, Any]:
    """Held-out tables (None without held-out prompts), and the accuracy on training prompts."""

    def scores(comparisons: Sequence[Comparison]) -> list[float]:
        texts = [text for comparison in comparisons for text in comparison.texts]
        found: list[float] = raw_scores(model, texts, renderer.pad_id).tolist()
        return found

    seed = job.spec.seed % 2**32
    seen, judged = data.training[:PROMPTS_FOR_TRAIN_ACCURACY], reports.Pairs.of(data.judged)
    return {
        "held_out": reports.report(
            data.held_out, scores(data.held_out), data.judged, data.taught_by, seed
        )
        if data.held_out
        else None,
        "training": reports.measures(reports.Pairs.of(seen, scores(seen)), judged, seed),
    }


def _headline(found: Mapping[str, Any]) -> dict[str, Any]:
    """The metrics of the result; those of held-out prompts are None where there are none."""
    held_out = found["held_out"]
    whole = held_out["all"] if held_out else {}
    names = ("accuracy", "accuracy_low", "accuracy_high", "noise_ceiling")
    return {
        **{name: whole.get(name) for name in names},
        "train_accuracy": found["training"]["accuracy"],
        "calibration_error": held_out["calibration"]["error"] if held_out else None,
    }


@contextmanager
def _adapted(job: Job, model: Any) -> Iterator[None]:
    """The model with what it learns with besides its own weights: an adapter, a language head.

    Raises:
        TrainingError: a language head is asked for and there is none.
    """
    params = job.spec.params
    assert isinstance(params, RewardParams)
    if params.lm_coef or params.likelihood:
        language.attach(model, job.spec.model)
    if params.likelihood:
        language.count(model, [params.likelihood] * params.heads)
    if params.lora_rank:
        lora.add_adapter(
            model.base_model, lora.ADAPTER, params.lora_rank, params.lora_alpha, job.spec.seed
        )
    with lora.using(model.base_model, lora.ADAPTER if params.lora_rank else None):
        yield


def _merged(job: Job, model: Any) -> tuple[dict[str, Any], Callable[[Path], object]]:
    """Merge the adapter, if any: what to record of it, and what writes it beside the model.

    A decoder's adapter is kept, for PPO to put on a body that it shares. An encoder's is not: no
    policy shares its body, and the pooler that it lies on is not in the base model's files.
    """
    assert isinstance(job.spec.params, RewardParams)
    adapted = job.spec.params.lora_rank > 0
    kept = _adapter(job, model) if adapted and scores_every_token(model) else None
    if adapted:
        lora.merge(model.base_model, lora.ADAPTER)

    if not kept:
        return {}, lambda _: None
    base = {"folder": lora.ADAPTER, "base_sha256": lora.weights_sha256(job.spec.model)}
    return {"adapter": base}, lambda folder: kept.save(folder / lora.ADAPTER)


def _adapter(job: Job, model: Any) -> lora.Adapter:
    """With the head, which is new."""
    outside = {
        name: parameter
        for name, parameter in model.named_parameters()
        if not name.startswith(f"{model.base_model_prefix}.")
    }
    return lora.take(model, lora.ADAPTER, job.spec.model, "SEQ_CLS", **outside)
