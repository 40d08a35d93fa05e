"""Completions for the prompts of a pool, written as they are made.

Prompts are taken in chunks of ``batch_prompts``, always the same ones together. A chunk is appended
in one write; a restarted job keeps whole chunks and makes the torn one again. That, and one seed a
completion, gives the same text however often a run was interrupted.

Several processes share the prompts of a chunk; the first of them writes.

A row of ``completions.jsonl``: ``prompt`` and ``index`` say which completion it is; ``text``;
``token_ids`` without the end token, null when a server did not tell them; ``logprobs``, one for
each of ``token_ids``, and ``end_logprob``, that of the end token, as ``generate.Completion`` has
them, null when not known; ``finish_reason``, ``stop`` when the completion ended and ``length`` when
it was cut off; ``seed``; ``template_sha256``.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from training.jobs.params import SampleParams
from training.rlhf import distributed, engines
from training.rlhf.engines import Engine
from training.rlhf.errors import TrainingError
from training.rlhf.generate import Completion, Request, Sampling, completion_seed
from training.rlhf.job import Job
from training.rlhf.models import load_renderer
from training.rlhf.rendering import CUT_OFF, Renderer
from training.rlhf.scoring import Scorer

COMPLETIONS = "completions.jsonl"
DECIMALS = 5


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
    renderer = load_renderer(job.spec.model)
    engine = engines.choose(job, renderer)
    wanted = [(row, row["indexes"]) for row in job.rows()]
    prompts = fit_prompts(job, renderer, engine.context, wanted, params.max_new_tokens)
    begun = time.monotonic()
    path = job.folder.artifacts / COMPLETIONS
    made = write_completions(job, engine, renderer, prompts, params, path)
    rows = list(read_completions(path))
    metrics = {
        "completions": len(rows),
        "tokens": sum(_length(renderer, row) for row in rows),
        "tokens_per_second": made / max(time.monotonic() - begun, 1e-9),
        "ended_share": sum(row["finish_reason"] != CUT_OFF for row in rows) / max(1, len(rows)),
        "prompts": len(prompts),
        "prompts_dropped": len(wanted) - len(prompts),
    }
    job.finish(COMPLETIONS, metrics, total=len(prompts))


def fit_prompts(
    job: Job,
    renderer: Renderer,
    context: int,
    wanted: Sequence[tuple[dict[str, Any], Sequence[int]]],
    max_new_tokens: int,
    scorer: Scorer | None = None,
) -> list[Prompt]:
    """Prompts that leave room for an answer, each with the greatest length that the context allows.

    A prompt that fills the context, or that the chat template refuses, is dropped and named in an
    event: cut, it would be another prompt than the one that people read. So is one that a
    ``scorer`` of another vocabulary cannot read.

    Raises:
        TrainingError: none is left.
    """
    prompts: list[Prompt] = []
    dropped: dict[str, list[str]] = defaultdict(list)
    for row, indexes in wanted:
        messages = row["messages"]
        accepted = renderer.accepts(messages)
        ids = renderer.prompt_ids(messages) if accepted else []
        limit = min(max_new_tokens, context - len(ids))
        if not accepted:
            reason: str | None = "refused_by_template"
        elif limit < 1:
            reason = "prompt_too_long"
        else:
            reason = scorer.refusal(messages, renderer, limit) if scorer else None
        if reason:
            dropped[reason].append(row["prompt"])
        else:
            prompts.append(Prompt(row["prompt"], messages, ids, indexes, limit))
    for reason, names in dropped.items():
        job.events.write("data", prompts_dropped=len(names), reason=reason, prompts=names[:20])
    if not prompts:
        counts = ", ".join(f"{len(names)} {reason}" for reason, names in dropped.items())
        raise TrainingError(
            f"no prompt is accepted and leaves room for an answer in {context} tokens: {counts}"
        )
    return prompts


def write_completions(
    job: Job,
    engine: Engine,
    renderer: Renderer,
    prompts: Sequence[Prompt],
    params: SamplingParams,
    path: Path,
) -> int:
    """Append what is missing in ``path``; returns the number of tokens written by this call.

    Raises:
        TrainingError: the engine fails, or draws from another model than the run names.
    """
    how = Sampling(params.temperature, params.top_p, renderer.end_id, renderer.pad_id)
    chunks = list(_chunks(prompts, params.batch_prompts))
    present = distributed.from_main(lambda: _keep_whole(path, chunks))
    tokens = 0
    if present < len(chunks):
        against = engine.checked_against
        job.events.write("engine", engine=engine.name, checked_against=against)
    for number, chunk in enumerate(chunks[present:], start=present + 1):
        job.stop_if_asked()
        rows = _complete(job, engine, renderer, chunk, how, check=number == present + 1)
        if distributed.is_main():
            _append(path, rows)
        tokens += sum(_length(renderer, row) for row in rows)
        job.events.write("sample", step=number, total=len(chunks), completions=len(rows))
    distributed.barrier()
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
    job: Job,
    engine: Engine,
    renderer: Renderer,
    chunk: Sequence[Prompt],
    how: Sampling,
    *,
    check: bool,
) -> list[dict[str, Any]]:
    seeds = [[completion_seed(job.spec.seed, p.id, i) for i in p.indexes] for p in chunk]
    requests = [Request(p.prompt_ids, s, p.limit) for p, s in zip(chunk, seeds, strict=True)]
    answers = distributed.gather(list(engine.complete(distributed.share(requests), how)))
    if check:
        engines.check(job, engine, requests, answers, how)
    exact = engine.has_exact_logprobs(how)
    return [
        {
            "prompt": prompt.id,
            "index": index,
            **_row(renderer, completion, exact),
            "seed": seed,
            "template_sha256": renderer.template_sha256,
        }
        for prompt, its_seeds, completions in zip(chunk, seeds, answers, strict=True)
        for index, seed, completion in zip(prompt.indexes, its_seeds, completions, strict=True)
    ]


def _append(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    with path.open("a", encoding="utf-8", newline="\n") as file:
        file.write("".join(json.dumps(row) + "\n" for row in rows))
        file.flush()
        os.fsync(file.fileno())


def _row(renderer: Renderer, completion: Completion, exact: bool) -> dict[str, Any]:
    told = completion.text is None
    known = exact and told
    return {
        "text": renderer.text(completion.token_ids) if told else completion.text,
        "token_ids": completion.token_ids if told else None,
        "logprobs": _rounded(completion.logprobs) if known else None,
        "end_logprob": _rounded(completion.end_logprob) if known else None,
        "finish_reason": "stop" if completion.ended else CUT_OFF,
    }


def _rounded(value: Any) -> Any:
    """A number or a list of them, or None.

    Raises:
        TrainingError: a number is not finite; the label store could not hold it.
    """
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    if value is not None and not math.isfinite(value):
        raise TrainingError(f"a token was drawn whose log-probability is {value}")
    return None if value is None else round(value, DECIMALS)


def _length(renderer: Renderer, row: Mapping[str, Any]) -> int:
    """Tokens of a completion without its end token; counted anew where they were not told."""
    ids = row["token_ids"]
    return len(renderer.completion_ids(row["text"], None, CUT_OFF) if ids is None else ids)


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
