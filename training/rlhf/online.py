"""Policy gradients without a value model, on TRL's RLOO and GRPO trainers.

TRL has the losses, the advantages, the reference model and the loop. What it writes, measures and
scores passes through the same code as everywhere here:

- Completions are drawn by ``generate``, at top_k 0 and top_p 1 (a filter would make another
  distribution than the one whose log-probabilities are trained). Each follows from the run's seed,
  its step and its row.
- The very ids that were drawn are scored. TRL would decode them and have the text tokenised again.
- A completion that did not end has no end token, and pays ``missing_eos_penalty``.
- Prompts follow from the seed: each is visited once a pass, in a new order each.

What TRL's checkpoints lack is the completions between two of the ``epochs`` that they are used for:
they are kept beside the rest.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from trl.models.utils import unwrap_model_for_generation

from training.jobs.params import RlooParams
from training.rlhf import artifacts, distributed
from training.rlhf.agreement import check_agreement
from training.rlhf.batching import positions
from training.rlhf.errors import TrainingError
from training.rlhf.generate import Completion, Request, Sampling, completion_seed, generate
from training.rlhf.job import Job
from training.rlhf.models import (
    default_learning_rate,
    disable_dropout,
    load_policy,
    load_renderer,
    parameter_count,
)
from training.rlhf.order import visits
from training.rlhf.rendering import Rendered, Renderer
from training.rlhf.sample import Prompt, fit_prompts
from training.rlhf.scoring import Scorer
from training.rlhf.trainers import METRICS, dataset, settings, train

# Beside TRL's checkpoint, one a rank.
DRAWN = "completions-*.pt"


class OnlineTrainer:
    """What both trainers take from here; put before TRL's class among the bases.

    ``beta`` is TRL's name for ``kl_coef``, and means it: both weigh the KL divergence of a whole
    completion from the reference, in nats. RLOO takes beta times log(pi / ref), summed over the
    completion, off its reward (2402.14740, section 4), as PPO does here. GRPO adds beta times an
    estimate of the KL at each token to that token's loss, with the gradient of the reverse KL; its
    advantages are in units of the spread within a prompt, and so is what beta is weighed against.
    """

    # Set by TRL.
    accelerator: Any
    args: Any
    model: Any
    model_wrapped: Any
    state: Any
    _metrics: Any
    _step: int
    _buffered_inputs: Any
    _get_per_token_logps_and_entropies: Callable[..., Any]

    renderer: Renderer
    run_seed: int

    def use(self, renderer: Renderer, seed: int) -> None:
        """To be called before training."""
        self.renderer = renderer
        self.run_seed = seed
        self._inputs: Sequence[Mapping[str, Any]] = []
        self._drawn: list[Completion] = []
        self._compared = False

    def draw(self, prompt_ids: Sequence[Sequence[int]]) -> list[list[int]]:
        """A completion for each row, with its end token if it has one.

        Raises:
            TrainingError: TRL rendered a prompt otherwise than the rest of the program.
        """
        if [list(ids) for ids in prompt_ids] != [row["prompt_ids"] for row in self._inputs]:
            raise TrainingError("TRL renders the prompts to other token ids than the reward model")
        end_id, pad_id = self.renderer.end_id, self.renderer.pad_id
        how = Sampling(self.args.temperature, 1.0, end_id, pad_id)
        # Recomputed activations, if they are on, allow no cache.
        with unwrap_model_for_generation(self.model_wrapped, self.accelerator) as model:
            answers = generate(model, self._requests(), how)
        self._drawn = [completion for group in answers for completion in group]
        return [[*c.token_ids, *([end_id] if c.ended else [])] for c in self._drawn]

    def measure(self, output: Mapping[str, Tensor]) -> None:
        """Compare drawing and training once, and record this rank's share of the measurements."""
        if not self._compared:
            self._compare(output)
            self._compared = True
        metrics = self._metrics["train"]
        metrics["completion_length"].append(metrics["completions/mean_length"][-1])
        kl = self.completion_kl(output)
        if kl is not None:
            metrics["completion_kl"].append(kl)

    def completion_kl(self, output: Mapping[str, Tensor]) -> float | None:
        """Mean over completions of log(pi / ref), in nats; None without a reference."""
        raise NotImplementedError

    def drawn_logprobs(self, like: Tensor) -> Tensor:
        """Log-probabilities of the tokens at drawing, end tokens included, 0 on padding: (B, C)."""
        told = torch.zeros(like.shape)
        for row, completion in enumerate(self._drawn):
            end = [] if completion.end_logprob is None else [completion.end_logprob]
            values = [*(completion.logprobs or []), *end]
            told[row, : len(values)] = torch.tensor(values)
        return told.to(like.device)

    def _requests(self) -> list[Request]:
        """Rows of one prompt that follow each other share its encoding."""
        first = distributed.rank() * len(self._inputs)
        seeds = [
            completion_seed(self.run_seed, f"step {self.state.global_step}", first + row)
            for row in range(len(self._inputs))
        ]
        rows = list(zip(self._inputs, seeds, strict=True))
        groups = [list(group) for _, group in itertools.groupby(rows, lambda r: r[0]["prompt_ids"])]
        return [
            Request(group[0][0]["prompt_ids"], [seed for _, seed in group], group[0][0]["limit"])
            for group in groups
        ]

    def _compare(self, output: Mapping[str, Tensor]) -> None:
        """Raises TrainingError when drawing and training see different distributions."""
        mask = output["completion_mask"]
        ids = torch.cat([output["prompt_ids"], output["completion_ids"]], 1)
        whole_mask = torch.cat([output["prompt_mask"], mask], 1)
        with torch.no_grad():
            trained = self._get_per_token_logps_and_entropies(
                self.model, ids, whole_mask, mask.shape[1], self.args.per_device_train_batch_size
            )[0]
        check_agreement(self.drawn_logprobs(trained), trained, mask)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        super()._save_checkpoint(model, trial)  # type: ignore[misc]
        folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        torch.save({"step": self._step, "inputs": self._buffered_inputs}, folder / _buffer_name())

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint:
            _require_ranks_of(Path(checkpoint))
        super()._load_optimizer_and_scheduler(checkpoint)  # type: ignore[misc]
        if checkpoint:
            path = Path(checkpoint) / _buffer_name()
            state = torch.load(path, map_location=self.accelerator.device, weights_only=True)
            self._step, self._buffered_inputs = state["step"], state["inputs"]

    def _generate_and_score_completions(self, inputs: Sequence[Mapping[str, Any]]) -> Any:
        self._inputs = inputs
        output = super()._generate_and_score_completions(inputs)  # type: ignore[misc]
        self.measure(output)
        return output


def run(job: Job, trainer_class: Any, config_class: Any) -> None:
    """Train a policy with one of TRL's trainers."""
    params = job.spec.params
    assert isinstance(params, RlooParams)
    assert job.spec.reward_model
    renderer, model = load_renderer(job.spec.model), load_policy(job.spec.model)
    disable_dropout(model)
    scorer = Scorer.load(job.spec.reward_model, params.pessimism)
    prompts = fit_prompts(
        job,
        renderer,
        scorer.room(renderer, model),
        [(row, ()) for row in job.rows()],
        params.max_new_tokens,
        scorer,
    )
    rate = params.learning_rate or default_learning_rate("ppo", parameter_count(model))
    trainer = trainer_class(
        model=model,
        reward_funcs=reward_function(scorer, renderer, params.missing_eos_penalty),
        args=config_class(**_arguments(job, model, prompts, params, rate)),
        train_dataset=_rows(prompts, params, job.spec.seed),
        processing_class=renderer.tokenizer,
    )
    trainer.use(renderer, job.spec.seed)
    for padded in filter(None, (model, trainer.ref_model)):
        with_positions(padded)
    train(job, trainer)
    model.eval()
    metrics = {**_results(trainer), "steps": params.steps, "learning_rate": rate}
    artifacts.save_model(job, model, renderer, metrics)
    artifacts.finish(job, metrics)


def reward_function(
    scorer: Scorer, renderer: Renderer, missing_eos_penalty: float
) -> Callable[..., list[float]]:
    """Score less penalty, as TRL wants it called. The scores before the penalty are recorded."""

    def reward(
        prompts: Sequence[Any],
        completion_ids: Sequence[Sequence[int]],
        prompt_ids: Sequence[Sequence[int]],
        log_metric: Callable[[str, float], None],
        **_: Any,
    ) -> list[float]:
        texts = [
            Rendered(list(p), list(c)) for p, c in zip(prompt_ids, completion_ids, strict=True)
        ]
        scores = scorer.score_completions(prompts, texts, renderer)
        ended = torch.tensor([text.completion_ids[-1] == renderer.end_id for text in texts])
        everyone = torch.tensor(distributed.gather(scores.tolist()))
        log_metric("score_mean", everyone.mean().item())
        log_metric("score_std", everyone.std(unbiased=False).item())
        log_metric("eos_share", ended.float().mean().item())
        return (scores - missing_eos_penalty * ~ended).tolist()

    return reward


def with_positions(model: nn.Module) -> None:
    """TRL pads prompts on the left and gives no positions; models that learn them, GPT-2 among
    them, would count the padding in.
    """
    if "position_ids" not in inspect.signature(model.forward).parameters:
        return

    def add(_model: nn.Module, args: tuple[Any, ...], given: dict[str, Any]) -> Any:
        if given.get("position_ids") is None and given.get("attention_mask") is not None:
            given["position_ids"] = positions(given["attention_mask"])
        return args, given

    model.register_forward_pre_hook(add, with_kwargs=True)


def _buffer_name() -> str:
    return DRAWN.replace("*", str(distributed.rank()))


def _require_ranks_of(checkpoint: Path) -> None:
    """Raises TrainingError when the checkpoint is of another number of processes: each has the
    completions that it drew itself.
    """
    before, now = len(list(checkpoint.glob(DRAWN))), distributed.world_size()
    if before != now:
        raise TrainingError(
            f"{checkpoint.name} is of {before} processes, and this run has {now}: "
            f"start {before} again, or begin anew with an empty folder"
        )


def _arguments(
    job: Job, model: nn.Module, prompts: Sequence[Prompt], params: RlooParams, rate: float
) -> dict[str, Any]:
    """Settings of RLOO and GRPO alike: a constant rate, Adam's epsilon of Llama 2, as in PPO."""
    arguments = settings(
        job,
        model,
        rows=params.batch_size,
        batch_size=params.batch_size,
        epochs=params.epochs,
        learning_rate=rate,
        tokens_per_row=max(len(prompt.prompt_ids) + prompt.limit for prompt in prompts),
    )
    del arguments["max_length"]
    return {
        **arguments,
        "num_train_epochs": 1,
        "max_steps": params.steps * params.epochs,
        "lr_scheduler_type": "constant",
        "lr_scheduler_kwargs": None,
        "adam_epsilon": 1e-5,
        "max_grad_norm": params.max_grad_norm,
        "num_generations": params.n,
        "num_iterations": params.epochs,
        "max_completion_length": params.max_new_tokens,
        "temperature": params.temperature,
        "top_k": 0,
        "top_p": 1.0,
        "beta": params.kl_coef,
        "epsilon": params.clip_range,
        "disable_dropout": True,
        "shuffle_dataset": False,
    }


def _rows(prompts: Sequence[Prompt], params: RlooParams, seed: int) -> Any:
    """The prompts of all steps in order; TRL repeats each ``n`` times."""
    rows = [
        {
            "prompt": [dict(message) for message in prompt.messages],
            "prompt_ids": prompt.prompt_ids,
            "limit": prompt.limit,
        }
        for prompt in prompts
    ]
    count = params.steps * (params.batch_size // params.n)
    return dataset(rows).select(visits(len(prompts), seed, 0, count))


def _results(trainer: Any) -> dict[str, float]:
    """The last value of each metric, and the reward before the first step."""
    history = trainer.state.log_history
    latest = {METRICS[name]: entry[name] for entry in history for name in entry if name in METRICS}
    del latest["epoch"], latest["learning_rate"]
    return {**latest, "reward_mean_start": history[0]["score_mean"]}
