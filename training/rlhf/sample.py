"""Completions for the prompts of a pool, written as they are made.

Prompts are taken in chunks of ``batch_prompts``, always the same ones together. A chunk is appended
in one write; a restarted job keeps whole chunks and makes the torn one again. That, and one seed a
completion, gives the same text however often a run was interrupted.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from training.jobs.params import SampleParams
from training.rlhf.errors import TrainingError
from training.rlhf.generate import Request, Sampling, completion_seed, generate
from training.rlhf.job import Job
from training.rlhf.models import context_length, load_policy, load_renderer
from training.rlhf.rendering import CUT_OFF, Renderer

COMPLETIONS = "completions.jsonl"


class SamplingParams(Protocol):
    """The fields that sample and rejection runs share."""

    @property
    def temperature(self) -> float: ...
    @property
    def top_p(self) -> float: ...
    @property
    def max_new_tokens(self) -> int: ...
    @property
    def batch_prompts(self) -> int: ...


@dataclass(frozen=True)
class Prompt:
    """A prompt ready to be completed."""

    id: str
    messages: Sequence[dict[str, str]]
    prompt_ids: list[int]
    indexes: Sequence[int]
    limit: int


def run(job: Job) -> None:
    params = job.spec.params
    assert isinstance(params, SampleParams)
    renderer, model = load_renderer(job.spec.model), load_policy(job.spec.model, frozen=True)
    wanted = [(row, row["indexes"]) for row in job.rows()]
    prompts = fit_prompts(job, renderer, context_length(model), wanted, params.max_new_tokens)
    begun = time.monotonic()
    path = job.folder.artifacts / COMPLETIONS
    made = write_completions(job, model, renderer, prompts, params, path)
    rows = list(read_completions(path))
    metrics = {
        "completions": len(rows),
        "tokens": sum(len(row["token_ids"]) for row in rows),
        "tokens_per_second": made / max(time.monotonic() - begun, 1e-9),
        "ended_share": sum(row["finish_reason"] != CUT_OFF for row in rows) / max(1, len(rows)),
        "prompts": len(prompts),
        "prompts_dropped": len(wanted) - len(prompts),
    }
    job.folder.write_result(artifact=COMPLETIONS, metrics=metrics)
    job.events.write("done", step=len(prompts), total=len(prompts), **metrics)


def fit_prompts(
    job: Job,
    renderer: Renderer,
    context: int,
    wanted: Sequence[tuple[dict[str, Any], Sequence[int]]],
    max_new_tokens: int,
) -> list[Prompt]:
    """Prompts that leave room for an answer, each with the greatest length that the context allows.

    A prompt that fills the context, or that the chat template refuses, is dropped and named in an
    event: cut, it would be another prompt than the one that people read.

    Raises:
        TrainingError: none is left.
    """
    prompts: list[Prompt] = []
    dropped: dict[str, list[str]] = {"prompt_too_long": [], "refused_by_template": []}
    for row, indexes in wanted:
        if not renderer.accepts(row["messages"]):
            dropped["refused_by_template"].append(row["prompt"])
            continue
        ids = renderer.prompt_ids(row["messages"])
        limit = min(max_new_tokens, context - len(ids))
        if limit < 1:
            dropped["prompt_too_long"].append(row["prompt"])
        else:
            prompts.append(Prompt(row["prompt"], row["messages"], ids, indexes, limit))
    for reason, names in dropped.items():
        if names:
            job.events.write("data", prompts_dropped=len(names), reason=reason, prompts=names[:20])
    if not prompts:
        raise TrainingError(
            f"no prompt is accepted and leaves room for an answer in {context} tokens"
        )
    return prompts


def write_completions(
    job: Job,
    model: Any,
    renderer: Renderer,
    prompts: Sequence[Prompt],
    params: SamplingParams,
    path: Path,
) -> int:
    """Append what is missing in ``path``; returns the number of tokens written by this call."""
    how = Sampling(params.temperature, params.top_p, renderer.end_id, renderer.pad_id)
    chunks = list(_chunks(prompts, params.batch_prompts))
    present = _keep_whole(path, chunks)
    tokens = 0
    with path.open("a", encoding="utf-8", newline="\n") as file:
        for number, chunk in enumerate(chunks[present:], start=present + 1):
            job.stop_if_asked()
            rows = _complete(job, model, renderer, chunk, how)
            file.write("".join(json.dumps(row) + "\n" for row in rows))
            file.flush()
            os.fsync(file.fileno())
            tokens += sum(len(row["token_ids"]) for row in rows)
            job.events.write("sample", step=number, total=len(chunks), completions=len(rows))
    return tokens


def read_completions(path: Path) -> Iterator[dict[str, Any]]:
    """The whole lines of a completions file."""
    if not path.is_file():
        return
    with path.open(encoding="utf-8", newline="\n") as file:
        for line in file:
            if line.endswith("\n"):
                yield json.loads(line)


def _complete(
    job: Job, model: Any, renderer: Renderer, chunk: Sequence[Prompt], how: Sampling
) -> list[dict[str, Any]]:
    seeds = [[completion_seed(job.spec.seed, p.id, i) for i in p.indexes] for p in chunk]
    requests = [Request(p.prompt_ids, s, p.limit) for p, s in zip(chunk, seeds, strict=True)]
    answers = generate(model, requests, how, between_tokens=job.stop_if_asked)
    return [
        {
            "prompt": prompt.id,
            "index": index,
            "text": renderer.text(completion.token_ids),
            "token_ids": completion.token_ids,
            "finish_reason": "stop" if completion.ended else CUT_OFF,
            "seed": seed,
            "template_sha256": renderer.template_sha256,
        }
        for prompt, its_seeds, completions in zip(chunk, seeds, answers, strict=True)
        for index, seed, completion in zip(prompt.indexes, its_seeds, completions, strict=True)
    ]


def _chunks(prompts: Sequence[Prompt], size: int) -> Iterator[Sequence[Prompt]]:
    for start in range(0, len(prompts), size):
        yield prompts[start : start + size]


def _keep_whole(path: Path, chunks: Sequence[Sequence[Prompt]]) -> int:
    """Cut ``path`` after its last whole chunk; returns how many chunks it holds."""
    raw = path.read_bytes() if path.is_file() else b""
    lines = raw.splitlines(keepends=True)
    whole = len(lines) - (1 if lines and not lines[-1].endswith(b"\n") else 0)
    count, used = 0, 0
    for chunk in chunks:
        size = sum(len(prompt.indexes) for prompt in chunk)
        if used + size > whole:
            break
        count, used = count + 1, used + size
    if used < len(lines):
        with path.open("r+b") as file:
            file.truncate(sum(map(len, lines[:used])))
    return count
