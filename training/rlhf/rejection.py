"""Rejection sampling: n completions a prompt, keep the best by reward, fine-tune on it (Llama 2,
section 3.2.3).

The fine-tuning is that of step 1, on the winners' own token ids. With completions of earlier rounds
beside them, the best is taken from all rounds: Llama 2 forgot skills where only the last one
counted.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from training.jobs.folder import write_json
from training.jobs.params import RejectionParams
from training.rlhf import artifacts, distributed, engines
from training.rlhf.job import Job
from training.rlhf.losses import best_of_n
from training.rlhf.models import load_policy, load_renderer
from training.rlhf.rendering import CUT_OFF, Rendered, Renderer
from training.rlhf.sample import (
    COMPLETIONS,
    Prompt,
    fit_prompts,
    read_completions,
    write_completions,
)
from training.rlhf.scoring import Scorer
from training.rlhf.sft import fine_tune

SCORES = "scores.json"
LINES_NAMED = 20


@dataclass(frozen=True)
class Answer:
    """A completion of a prompt of this run; ``past``: written in an earlier round."""

    prompt: str
    text: Rendered
    ended: bool
    past: bool = False


@dataclass(frozen=True)
class Candidate:
    """A completion of a prompt with its reward."""

    text: Rendered
    ended: bool
    score: float
    past: bool = False


def run(job: Job) -> None:
    params = job.spec.params
    assert isinstance(params, RejectionParams)
    assert job.spec.reward_model
    renderer, model = load_renderer(job.spec.model), load_policy(job.spec.model)
    scorer = Scorer.load(job.spec.reward_model, pessimism=params.pessimism)
    wanted = [(row, range(params.n)) for row in job.rows()]
    context = scorer.room(renderer, model)
    prompts = fit_prompts(job, renderer, context, wanted, params.max_new_tokens, scorer)
    path = job.folder.checkpoints / COMPLETIONS
    engine = engines.choose(job, renderer, model)
    write_completions(job, engine, renderer, prompts, params, path)
    answers = fresh_answers(renderer, prompts, read_completions(path))
    if params.past_completions:
        answers += past_answers(job, scorer, renderer, prompts, answers, context)
    candidates = grouped(prompts, answers, _scores(job, scorer, renderer, prompts, answers))
    winners = [best(group) for group in candidates]
    rewards = _rewards(candidates, winners)
    if params.past_completions:
        rewards["past_won_share"] = sum(winner.past for winner in winners) / len(winners)
    curve: dict[str, Any] = {**rewards, **_curve(candidates)}
    job.events.write("best_of_n", **curve)
    metrics = fine_tune(
        job,
        model,
        renderer,
        [winner.text for winner in winners],
        epochs=params.epochs,
        batch_size=params.batch_size,
        learning_rate=params.learning_rate,
    )
    metrics |= rewards
    artifacts.save_model(job, model, renderer, metrics)
    artifacts.finish(job, metrics)


def best(candidates: Sequence[Candidate]) -> Candidate:
    """The highest reward among those that ended; a cut one wins only when all were cut.

    A model fine-tuned on answers without an end unlearns to stop. Of equals the first wins.
    """
    return max(candidates, key=lambda candidate: (candidate.ended, candidate.score))


def fresh_answers(
    renderer: Renderer, prompts: Sequence[Prompt], rows: Iterable[Mapping[str, Any]]
) -> list[Answer]:
    messages = {prompt.id: prompt.messages for prompt in prompts}
    return [_answer(renderer, messages[row["prompt"]], row) for row in rows]


def past_answers(
    job: Job,
    scorer: Scorer,
    renderer: Renderer,
    prompts: Sequence[Prompt],
    fresh: Sequence[Answer],
    context: int,
) -> list[Answer]:
    """Completions of earlier rounds that can be candidates; the others are counted in an event.

    A text that is among the candidates already is one more draw, not one more candidate. The same
    text cut off and ended are two: only one of them teaches to stop.
    """
    messages = {prompt.id: prompt.messages for prompt in prompts}
    known = {_identity(renderer, answer) for answer in fresh}
    reasons = ("unknown_format", "other_prompt", "too_long", "repeated")
    dropped = dict.fromkeys(reasons, 0)
    unknown: list[int] = []
    kept: list[Answer] = []
    for line, row in enumerate(job.folder.read_data(job.spec.data["completions"]), start=1):
        if not _is_completion(row):
            dropped["unknown_format"] += 1
            unknown.append(line)
        elif row["prompt"] not in messages:
            dropped["other_prompt"] += 1
        else:
            conversation = messages[row["prompt"]]
            answer = _answer(renderer, conversation, row, past=True)
            if len(answer.text) > context or not scorer.reads(conversation, answer.text, renderer):
                dropped["too_long"] += 1
            elif _identity(renderer, answer) in known:
                dropped["repeated"] += 1
            else:
                known.add(_identity(renderer, answer))
                kept.append(answer)
    lines: dict[str, Any] = {"unknown_format_lines": unknown[:LINES_NAMED]} if unknown else {}
    job.events.write(
        "data",
        part="completions",
        past_completions=len(kept),
        **{f"dropped_{reason}": count for reason, count in dropped.items()},
        **lines,
    )
    return kept


def grouped(
    prompts: Sequence[Prompt], answers: Sequence[Answer], scores: Sequence[float]
) -> list[list[Candidate]]:
    """The candidates of each prompt, fresh ones first."""
    groups: dict[str, list[Candidate]] = {prompt.id: [] for prompt in prompts}
    for answer, score in zip(answers, scores, strict=True):
        candidate = Candidate(answer.text, answer.ended, score, answer.past)
        groups[answer.prompt].append(candidate)
    return list(groups.values())


def _scores(
    job: Job,
    scorer: Scorer,
    renderer: Renderer,
    prompts: Sequence[Prompt],
    answers: Sequence[Answer],
) -> list[float]:
    """One reward an answer, kept in a file: scored anew after an interruption on another machine,
    near ties could fall otherwise, and the run would go on with other winners.
    """
    path = job.folder.checkpoints / SCORES
    stored = distributed.from_main(
        lambda: json.loads(path.read_text(encoding="utf-8"))["scores"] if path.is_file() else None
    )
    if stored is not None:
        return [float(score) for score in stored]
    messages = {prompt.id: prompt.messages for prompt in prompts}
    mine = distributed.share(list(answers))
    scored = scorer.score_completions(
        [messages[answer.prompt] for answer in mine], [answer.text for answer in mine], renderer
    )
    scores: list[float] = distributed.gather(scored.tolist())
    if distributed.is_main():
        write_json(path, {"scores": scores})
    return scores


def _answer(
    renderer: Renderer,
    messages: Sequence[Mapping[str, str]],
    row: Mapping[str, Any],
    *,
    past: bool = False,
) -> Answer:
    text = renderer.render(messages, row)
    return Answer(row["prompt"], text, row["finish_reason"] != CUT_OFF, past)


def _identity(renderer: Renderer, answer: Answer) -> tuple[str, str, bool]:
    """By text: other ids may spell the same one."""
    return answer.prompt, renderer.text(answer.text.completion_ids), answer.ended


def _is_completion(row: object) -> bool:
    if not isinstance(row, Mapping) or "finish_reason" not in row:
        return False
    ids = row.get("token_ids")
    return (
        isinstance(row.get("prompt"), str)
        and isinstance(row.get("text"), str)
        and (ids is None or (isinstance(ids, list) and all(type(i) is int for i in ids)))
    )


def _rewards(
    candidates: Sequence[Sequence[Candidate]], winners: Sequence[Candidate]
) -> dict[str, float]:
    scores = [score for group in _fresh_scores(candidates) for score in group]
    return {
        "reward_mean": sum(scores) / len(scores),
        "reward_best": sum(winner.score for winner in winners) / len(winners),
    }


def _curve(candidates: Sequence[Sequence[Candidate]]) -> dict[str, float]:
    """Expected best reward of 1, 2, 4, ... completions: what a larger n would still bring."""
    scores = _fresh_scores(candidates)
    most = min(map(len, scores))
    sizes = [2**power for power in range(most.bit_length()) if 2**power <= most]
    return {
        f"best_of_{n}": sum(best_of_n(group, n) for group in scores) / len(scores) for n in sizes
    }


def _fresh_scores(candidates: Sequence[Sequence[Candidate]]) -> list[list[float]]:
    """Of this round's policy alone: past answers were not drawn from it, and none twice."""
    return [[one.score for one in group if not one.past] for group in candidates]
