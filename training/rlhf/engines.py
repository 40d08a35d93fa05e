"""Where completions come from: the model in this process, vLLM, or a server.

Own sampling is what everything else is measured against: its log-probabilities are exact, and the
same seed gives the same text on every device. vLLM and servers are faster on GPUs; a seed repeats
their text only as far as they promise. PPO, RLOO and GRPO always sample by themselves, because
their weights change with every step.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from training.rlhf.errors import TrainingError
from training.rlhf.generate import Completion, Request, Sampling, generate, nucleus
from training.rlhf.job import Job
from training.rlhf.models import autocast, context_length, device, is_local, load_policy
from training.rlhf.rendering import Renderer
from training.rlhf.server import ServerEngine, address

# Of the first chunk, so many completions, each so far, are compared with the model itself.
CHECKED_COMPLETIONS = 8
CHECKED_TOKENS = 256
# Mean difference a token, in nats. Another precision makes thousandths, another model whole ones.
TOLERANCE = 0.1
# The share of a GPU's memory that vLLM takes: the model that checks it needs room as well.
VLLM_MEMORY = 0.6


class Engine(Protocol):
    """A source of completions.

    ``context``: the greatest number of tokens of prompt and completion. ``checked_against``: the
    model whose log-probabilities the engine's must be, None where there is nothing to compare.
    """

    @property
    def name(self) -> str: ...
    @property
    def context(self) -> int: ...
    @property
    def checked_against(self) -> str | None: ...

    def complete(
        self, requests: Sequence[Request], how: Sampling
    ) -> Sequence[Sequence[Completion]]:
        """The completions of each request, in the order of its seeds."""
        ...

    def has_exact_logprobs(self, how: Sampling) -> bool:
        """Whether its log-probabilities are those that ``Completion.logprobs`` promises."""
        ...


def choose(job: Job, renderer: Renderer, model: Any = None) -> Engine:
    """A server if the environment names one, vLLM if it is installed beside a GPU, or the model.

    ``model``: the policy, where it is loaded already.
    """
    name = job.spec.model
    server = address(os.environ)
    if server:
        return ServerEngine(
            server,
            renderer,
            _declared_context(name),
            checked_against=name if is_local(name) else None,
            between=job.stop_if_asked,
        )
    if torch.cuda.is_available() and importlib.util.find_spec("vllm"):
        return VllmEngine(name, _declared_context(name), job.stop_if_asked)
    return OwnEngine(model or load_policy(name, frozen=True), job.stop_if_asked)


class OwnEngine:
    """``generate`` in this process."""

    name = "own"
    checked_against = None

    def __init__(self, model: Any, between: Callable[[], None]) -> None:
        self._model = model
        self._between = between
        self.context = context_length(model)

    def complete(
        self, requests: Sequence[Request], how: Sampling
    ) -> Sequence[Sequence[Completion]]:
        return generate(self._model, requests, how, between_tokens=self._between)

    def has_exact_logprobs(self, how: Sampling) -> bool:
        return True


class VllmEngine:
    """vLLM in this process, by its documented interface (0.20 to 0.33).

    Not run on a GPU so far: the tests check what is handed over and read back with a stand-in.
    Each completion is a request of its own seed; the prefix cache computes their prompt once.
    """

    name = "vllm"

    def __init__(self, model: str, context: int, between: Callable[[], None]) -> None:
        vllm: Any = importlib.import_module("vllm")
        self._sampling_params = vllm.SamplingParams
        self._llm = vllm.LLM(
            model=model,
            # As load_policy has it for models that only write.
            dtype="bfloat16",
            trust_remote_code=False,
            # Else the model's own file would change how tokens are drawn, and where texts end.
            generation_config="vllm",
            # After the temperature, as they were drawn.
            logprobs_mode="processed_logprobs",
            enable_prefix_caching=True,
            gpu_memory_utilization=VLLM_MEMORY,
            **({"max_model_len": context} if context < 2**31 else {}),
        )
        self._between = between
        self.context = context
        self.checked_against = model

    def complete(
        self, requests: Sequence[Request], how: Sampling
    ) -> Sequence[Sequence[Completion]]:
        self._between()
        wanted = [(request, seed) for request in requests for seed in request.seeds]
        outputs = self._llm.generate(
            [{"prompt_token_ids": list(request.prompt_ids)} for request, _ in wanted],
            sampling_params=[self._settings(request, seed, how) for request, seed in wanted],
            use_tqdm=False,
        )
        completions = iter([_read_vllm(output.outputs[0], how.end_id) for output in outputs])
        return [[next(completions) for _ in request.seeds] for request in requests]

    def has_exact_logprobs(self, how: Sampling) -> bool:
        # What top_p cuts away is not in them any more.
        return how.top_p == 1

    def _settings(self, request: Request, seed: int, how: Sampling) -> Any:
        return self._sampling_params(
            temperature=how.temperature,
            top_p=how.top_p,
            max_tokens=request.limit,
            seed=seed,
            stop_token_ids=[how.end_id],
            # Of the token that was drawn, none besides.
            logprobs=0,
            detokenize=False,
        )


def check(
    job: Job,
    engine: Engine,
    requests: Sequence[Request],
    answers: Sequence[Sequence[Completion]],
    how: Sampling,
) -> None:
    """Compare an engine's log-probabilities with those of the model that the run names.

    They may be of the distribution that was drawn from, or of the one before temperature and top_p:
    engines differ, and the nearer one counts.

    Raises:
        TrainingError: it is another model.
    """
    if engine.checked_against is None:
        return
    told = [
        (request.prompt_ids, completion)
        for request, completions in zip(requests, answers, strict=True)
        for completion in completions
        if completion.logprobs
    ]
    if not told:
        job.events.write("engine_check", engine=engine.name, completions=0)
        return
    chosen = told[:: max(1, len(told) // CHECKED_COMPLETIONS)][:CHECKED_COMPLETIONS]
    model = load_policy(engine.checked_against, frozen=True)
    differences = torch.cat([_differences(model, *item, how) for item in chosen], 1)
    nearer = differences[differences.mean(1).argmin()]
    mean = nearer.mean().item()
    job.events.write(
        "engine_check",
        engine=engine.name,
        completions=len(chosen),
        tokens=len(nearer),
        mean_difference=mean,
        max_difference=nearer.max().item(),
    )
    if not mean <= TOLERANCE:
        raise TrainingError(
            f"the log-probabilities of the {engine.name} engine are {mean:.3g} nats a "
            f"token off those of {engine.checked_against}: it serves another model, or alters how "
            "tokens are drawn"
        )


@torch.no_grad()
def _differences(
    model: Any, prompt_ids: Sequence[int], completion: Completion, how: Sampling
) -> Tensor:
    """|told - computed| of each token, before (row 0) and after temperature and top_p: (2, T)."""
    tokens = completion.token_ids[:CHECKED_TOKENS]
    ids = torch.tensor([[*prompt_ids, *tokens]], device=device())
    with autocast():
        output = model(input_ids=ids, use_cache=False, logits_to_keep=len(tokens) + 1)
    logits = output.logits[0, :-1].double()
    drawn_from = (logits / (how.temperature or 1.0)).softmax(-1)
    if how.top_p < 1:
        drawn_from = nucleus(drawn_from, how.top_p)
        drawn_from = drawn_from / drawn_from.sum(-1, keepdim=True)
    both = torch.stack([logits.log_softmax(-1), drawn_from.log()])
    computed = both[:, torch.arange(len(tokens)), ids[0, -len(tokens) :]]
    told = torch.tensor(completion.logprobs, dtype=torch.float64)[: len(tokens)]
    return (computed.cpu() - told).abs()


def _read_vllm(output: Any, end_id: int) -> Completion:
    ids = list(output.token_ids)
    if output.finish_reason not in {"stop", "length"}:
        raise TrainingError(f"vLLM broke off a completion: {output.finish_reason}")
    logprobs = [float(at[token].logprob) for token, at in zip(ids, output.logprobs, strict=True)]
    if ids and ids[-1] == end_id:
        return Completion(ids[:-1], True, logprobs[:-1], logprobs[-1])
    return Completion(ids, False, logprobs)


def _declared_context(name: str) -> int:
    """As ``context_length``, without the weights."""
    config = AutoConfig.from_pretrained(name, trust_remote_code=False)
    with torch.device("meta"):
        return context_length(AutoModelForCausalLM.from_config(config))
