"""Known traps of the data and of what a run leaves: splits, pairs, resuming, choosing."""

from __future__ import annotations

import itertools
import json
import math
import random
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from labeling import ordering
from labeling.models import Demonstration, User
from tests.conftest import Cast, caller, rank
from tests.rlhf.conftest import compared, demonstrations, events_of, metrics_of, prompts, said
from tests.rlhf.toys import (
    ASSISTANT,
    END,
    VOCABULARY,
    bigram,
    flat,
    outcomes,
    saved,
    table,
    tabular_rewards,
    texts_of,
)
from training import selectors
from training.models import Run
from training.rlhf import ppo, reward, rloo, sft, trainers
from training.rlhf.comparisons import load_comparisons
from training.rlhf.models import load_policy
from training.rlhf.rendering import Renderer
from training.rlhf.scoring import Scorer, raw_scores
from training.rlhf.splitting import split

A, B = 80, 81

# --- 19: what is held out

AUTHORS = st.sampled_from(["", *(f"author {n}" for n in range(8))])
ROWS = st.lists(
    st.tuples(AUTHORS, st.integers(0, 12)).map(
        lambda x: {"author": x[0], "messages": said(f"question {x[1]}"), "prompt": "any"}
    ),
    max_size=60,
)


@settings(deadline=None, max_examples=40)
@given(ROWS, st.floats(0.01, 0.5), st.integers(0, 5))
def test_trap_19_no_conversation_is_on_both_sides(
    rows: list[dict[str, Any]], share: float, seed: int
) -> None:
    """Whoever asked it: the same words by two people are one prompt."""
    kept, held_out = split(rows, share, seed)
    assert len(kept) + len(held_out) == len(rows)
    words = [{str(row["messages"]) for row in part} for part in (kept, held_out)]
    assert not words[0] & words[1]


def test_trap_19_completions_of_a_prompt_are_all_trained_on_or_none(
    make_job: Any, renderer: Renderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each conversation comes twice, under two ids, with other completions."""
    rows = [
        compared(f"p{n} {part}", [f"a{n}{part}", f"b{n}{part}"], [(0, 1)], messages=said(f"q{n}"))
        for n, part in itertools.product(range(12), "xy")
    ]
    seen: list[list[int]] = []
    compute = reward.KwiseRewardTrainer.compute_loss

    def record(self: Any, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        seen.extend(texts_of(inputs))
        return compute(self, model, inputs, *args, **kwargs)

    monkeypatch.setattr(reward.KwiseRewardTrainer, "compute_loss", record)
    job = make_job("reward", {"comparisons": rows}, {"epochs": 1, "validation_share": 0.3})
    reward.run(job)
    counts = []
    for n in range(12):
        prompt = renderer.prompt_ids(said(f"q{n}"))
        counts.append(sum(ids[: len(prompt)] == prompt for ids in seen))
    assert set(counts) == {0, 4}
    assert metrics_of(job)["validation_prompts"] == counts.count(0)


def test_trap_19_held_out_loss_does_not_rise_inside_the_first_epoch(
    make_job: Any, renderer: Renderer, reward_folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fifth of the labels is wrong; prompts nobody trains on are measured after every step."""
    noise = random.Random(1)

    def ranked(name: str, wrong: float) -> dict[str, Any]:
        texts = [noise.choice("cdef") + "a" * k + "b" * (4 - k) for k in (4, 3, 1, 0)]
        pairs = [(a, b) for a in range(4) for b in range(a + 1, 4)]
        told = [(b, a) if noise.random() < wrong else (a, b) for a, b in pairs]
        return compared(name, texts, told)

    unseen = [ranked(f"unseen {n}", 0.0) for n in range(12)]
    texts = [renderer.render(r["messages"], c) for r in unseen for c in r["completions"]]
    losses: list[float] = []
    compute = reward.KwiseRewardTrainer.compute_loss

    def measure(self: Any, model: Any, *args: Any, **kwargs: Any) -> Any:
        training = model.training
        model.eval()
        scores = raw_scores(model, texts, 0).view(12, 4)
        model.train(training)
        leads = [scores[:, a] - scores[:, b] for a in range(4) for b in range(a + 1, 4)]
        losses.append(-torch.nn.functional.logsigmoid(torch.stack(leads)).mean().item())
        return compute(self, model, *args, **kwargs)

    monkeypatch.setattr(reward.KwiseRewardTrainer, "compute_loss", measure)
    params = {"epochs": 1, "batch_prompts": 4, "learning_rate": 2e-3, "validation_share": 0.0}
    rows = [ranked(f"p{n}", 0.2) for n in range(60)]
    reward.run(make_job("reward", {"comparisons": rows}, params))
    assert losses[0] == pytest.approx(math.log(2), abs=1e-6)
    assert losses[-1] < 0.6
    lowest = list(itertools.accumulate(losses, min))
    assert all(now < low + 0.03 for now, low in zip(losses, lowest, strict=True))


# --- 20: from rankings to pairs


@given(st.lists(st.integers(1, 9), min_size=4, max_size=9))
def test_trap_20_pairs_are_all_twos_less_ties(ranks: list[int]) -> None:
    rank_of = dict(enumerate(ranks, start=100))
    pairs = ordering.comparisons(rank_of)
    ties = sum(a == b for a, b in itertools.combinations(ranks, 2))
    assert len(pairs) == math.comb(len(ranks), 2)
    assert sum(p.preferred != "tie" for p in pairs) == math.comb(len(ranks), 2) - ties
    for pair in pairs:
        better = {"a": (pair.a, pair.b), "b": (pair.b, pair.a)}.get(pair.preferred)
        assert pair.rank_gap == abs(rank_of[pair.a] - rank_of[pair.b])
        if better:
            assert rank_of[better[0]] < rank_of[better[1]]
        else:
            assert pair.rank_gap == 0


@pytest.mark.django_db
def test_trap_20_from_a_labeler_to_the_batch(
    cast: Cast, make_pool: Any, make_job: Any, renderer: Renderer
) -> None:
    """Ties make no pair, nor do equal texts; what is left counts C(K, 2) less both."""
    pool = make_pool(tasks=1, count=5)
    task = pool.prompts.get().tasks.get()
    first, second = task.completions.order_by("number")[:2]
    second.text = first.text
    second.save()
    ranks = [1, 2, 2, 4, 3]
    rank(cast.ben, pool, ranks)
    [row] = selectors.comparison_groups(pool, "people")
    [ranking] = row["rankings"]
    assert (len(ranking["pairs"]), ranking["ties"]) == (9, 1)
    by_pk = {i.completion_id: i.rank for i in task.rankings.get().items.all()}
    same_is_tied = by_pk[first.pk] == by_pk[second.pk]
    order = [by_pk[c.pk] for c in task.completions.order_by("number")]
    for winner, loser in ranking["pairs"]:
        assert order[winner] < order[loser]
    job = make_job("reward", {"comparisons": [row]})
    [comparison] = load_comparisons(job, renderer, 128)
    # C(5, 2) = 10 less one tie, less the pair of equal texts unless that one is the tie.
    assert len(comparison.pairs) == (9 if same_is_tied else 8)
    for winner, loser in comparison.pairs:
        assert comparison.texts[winner].ids != comparison.texts[loser].ids
    [counts] = events_of(job, "data")
    assert counts["ties_dropped"] == 1
    assert counts["pairs_unusable"] == (0 if same_is_tied else 1)


def test_trap_20_fake_pairs_in_a_file_are_dropped_and_counted(
    make_job: Any, renderer: Renderer
) -> None:
    """Data that another program wrote: equal texts in different places, compared with others."""
    row = compared("p", ["same", "other", "same"], [(0, 1), (1, 2), (0, 2), (2, 0)])
    job = make_job("reward", {"comparisons": [row]})
    [comparison] = load_comparisons(job, renderer, 128)
    assert len(comparison.pairs) == 2
    for winner, loser in comparison.pairs:
        assert comparison.texts[winner].ids != comparison.texts[loser].ids
    [counts] = events_of(job, "data")
    assert counts["pairs_unusable"] == 2


# --- 26: killed and started again (test_resume.py has every kind, and a real SIGKILL)


class Killed(BaseException):
    """Nothing in the program may catch it, as nothing can catch SIGKILL."""


EVERYTHING = {
    "steps": 4,
    "batch_size": 6,
    "minibatch_size": 4,
    "epochs": 2,
    "max_new_tokens": 5,
    "learning_rate": 1e-3,
    "value_learning_rate": 1e-3,
    "checkpoint_every": 1,
    "kl_target": 0.5,
    "kl_horizon": 20,
    "ema_decay": 0.8,
    "ptx_ratio": 0.5,
    "ptx_coef": 1.0,
}
TEXT = [{"text": "some text to keep " * (1 + n)} for n in range(3)]
RANKED = [compared(f"p{n}", [f"a{n}", "bb", "ccc"], [(0, 1), (0, 2), (1, 2)]) for n in range(8)]
ONLINE = {"steps": 3, "batch_size": 4, "n": 2, "max_new_tokens": 4, "learning_rate": 1e-3}
RUNS: dict[str, tuple[Any, str, dict[str, Any], dict[str, Any], str]] = {
    "ppo": (ppo, "ppo", {"prompts": prompts(5), "ptx": TEXT}, EVERYTHING, "ppo"),
    "ppo lora": (
        ppo,
        "ppo",
        {"prompts": prompts(5), "ptx": TEXT},
        EVERYTHING | {"lora_rank": 2},
        "ppo",
    ),
    "sft": (
        sft,
        "sft",
        {"demonstrations": demonstrations(12)},
        {"epochs": 3, "batch_size": 4, "learning_rate": 1e-3, "choose_by": "eval_loss"},
        "train",
    ),
    "reward": (
        reward,
        "reward",
        {"comparisons": RANKED},
        {"epochs": 2, "batch_prompts": 3, "learning_rate": 1e-3},
        "train",
    ),
    "rloo": (rloo, "rloo", {"prompts": prompts(4)}, ONLINE | {"epochs": 2}, "train"),
}


def timeless(metrics: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in metrics.items() if "second" not in k}


def kill_after(job: Any, phase: str, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Die in the middle of telling of a step: after its work, before or after its checkpoint."""
    write = job.events.write

    def dying(what: str, **metrics: Any) -> None:
        write(what, **metrics)
        if what == phase and metrics["step"] == step:
            raise Killed

    monkeypatch.setattr(job.events, "write", dying)


@pytest.mark.parametrize("name", list(RUNS))
def test_trap_26_a_killed_run_ends_as_if_it_had_not_been(
    make_job: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after the second step (and PPO once more): same events, metrics and weights."""
    module, kind, data, params, phase = RUNS[name]
    monkeypatch.setattr(trainers, "SECONDS_BETWEEN_CHECKPOINTS", -1)
    whole, killed = (make_job(kind, data, params, name=n) for n in ("whole", "killed"))
    module.run(whole)
    for step in (2, 3) if kind == "ppo" else (2,):
        with monkeypatch.context() as patch:
            kill_after(killed, phase, step, patch)
            with pytest.raises(Killed):
                module.run(killed)
    module.run(killed)
    assert timeless(metrics_of(killed)) == timeless(metrics_of(whole))
    told = [{e["step"]: timeless(e) for e in steps_of(job, phase)} for job in (whole, killed)]
    assert told[0] == told[1]
    weights = [
        load_file(job.folder.artifacts / "model" / "model.safetensors") for job in (whole, killed)
    ]
    assert all(torch.equal(weights[0][n], weights[1][n]) for n in weights[0])


def steps_of(job: Any, phase: str) -> list[dict[str, Any]]:
    from training.jobs.events import read_events

    events = read_events(job.folder.events)[0]
    return [{"step": e.step, **e.metrics} for e in events if e.phase == phase]


# --- 27: before the collapse

# The chain goes on with A or ends; the reward model likes A without end, people up to three.
START = table({ASSISTANT: {A: 0.0, END: 0.5}, A: {A: 0.0, B: -1.0, END: 0.5}, B: {END: 0.0}})


def liked_by_people(logits: Any, limit: int = 12) -> float:
    """The exact expectation of 1 - (number of A - 3)^2 / 9 over what a policy writes."""
    listed = outcomes(logits, ASSISTANT, limit)
    return sum(chance * (1 - (ids.count(A) - 3) ** 2 / 9) for ids, chance in listed)


def next_tokens(model: Any) -> Any:
    """(V, V) logits after each single token."""
    with torch.no_grad():
        ids = torch.tensor([[ASSISTANT], [A], [B]])
        found = model(ids).logits[:, 0]
    logits = START.clone()
    for row, token in enumerate((ASSISTANT, A, B)):
        logits[token, [A, B, END]] = found[row, [A, B, END]]
    return logits


def test_trap_27_a_kl_budget_ends_before_what_people_like_is_lost(
    make_job: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxy counts A. Without a budget the policy never ends."""

    def count(_self: Scorer, texts: Any) -> torch.Tensor:
        return torch.tensor([float(text.completion_ids.count(A)) for text in texts])

    monkeypatch.setattr(Scorer, "score", count)
    reward_folder = tabular_rewards(torch.zeros(VOCABULARY), tmp_path / "reward")
    policy_folder = saved(bigram(START), tmp_path / "policy")
    params = {
        "steps": 20,
        "batch_size": 32,
        "minibatch_size": 16,
        "max_new_tokens": 12,
        "learning_rate": 5e-4,
        "kl_coef": 0.0,
        "missing_eos_penalty": 0.0,
    }
    liked, jobs = {}, {}
    for name, extra in (("free", {}), ("budget", {"kl_budget": 1.0})):
        job = make_job(
            "ppo",
            {"prompts": [{"prompt": "p", "messages": said("x")}]},
            params | extra,
            name=name,
            model=policy_folder,
            reward_model=reward_folder,
        )
        ppo.run(job)
        liked[name] = liked_by_people(next_tokens(load_policy(str(job.folder.artifacts / "model"))))
        jobs[name] = job
    start = liked_by_people(START)
    assert metrics_of(jobs["free"])["reward_mean"] > metrics_of(jobs["budget"])["reward_mean"] + 2
    assert liked["free"] < start < liked["budget"]
    assert len(events_of(jobs["budget"], "kl_budget")) == 1


def test_trap_27_the_epoch_of_the_lowest_held_out_loss_is_kept(make_job: Any) -> None:
    """Few answers that have nothing in common but their form: learnt by heart after a while."""
    noise = random.Random(0)
    rows = [
        {
            "prompt": f"d{n}",
            "author": "",
            "messages": said(f"say {n}"),
            "completion": "".join(noise.choice("abcdefgh") for _ in range(6)),
        }
        for n in range(12)
    ]
    params = {"epochs": 8, "batch_size": 2, "learning_rate": 2e-2, "validation_share": 0.3}
    left = {}
    for choice in ("last", "eval_loss"):
        job = make_job("sft", {"demonstrations": rows}, params | {"choose_by": choice}, name=choice)
        sft.run(job)
        losses = [event["eval_loss"] for event in events_of(job, "evaluate")]
        left[choice] = (metrics_of(job)["eval_loss"], losses, job)
    assert left["last"][1] == left["eval_loss"][1]
    losses = left["eval_loss"][1]
    assert losses[-1] > min(losses) + 0.1
    assert left["last"][0] == pytest.approx(losses[-1])
    assert left["eval_loss"][0] == pytest.approx(min(losses))
    weights = [
        flat(load_policy(str(job.folder.artifacts / "model"))) for _, _, job in left.values()
    ]
    assert not torch.equal(*weights)


# --- 29: labelers that no model has learnt from


@pytest.fixture
def outsider(cast: Cast) -> Any:
    """A labeler of the held-out group."""
    found = caller("dee", "labeler")
    found.user.labeler_group = User.LabelerGroup.HELD_OUT
    found.user.save()
    return found


@pytest.mark.django_db
def test_trap_29_rankings_of_held_out_labelers_train_nothing(
    cast: Cast, make_pool: Any, outsider: Any
) -> None:
    """They are in the data of a reward model alone, and marked there."""
    pool = make_pool(tasks=3)
    rank(cast.ben, pool)
    for _ in range(2):
        rank(outsider, pool)
    ben, dee = str(cast.ben.user.pk), str(outsider.user.pk)

    def told_by(**how: Any) -> set[tuple[str, bool]]:
        rows = selectors.comparison_groups(pool, "all", **how)
        return {(r["labeler"], bool(r.get("held_out"))) for row in rows for r in row["rankings"]}

    assert told_by() == {(ben, False)}
    assert told_by(with_held_out=True) == {(ben, False), (dee, True)}
    for kind in Run.Kind.values:
        run = Run(pool=pool, kind=kind, labelers="all")
        wanted = [(ben, False)] + ([(dee, True)] if kind == "reward" else [])
        rows = list(selectors.rows_of(run, "comparisons"))
        assert {(r["labeler"], r["held_out"]) for row in rows for r in row["rankings"]} == set(
            wanted
        ), kind


@pytest.mark.django_db
def test_trap_29_demonstrations_of_held_out_labelers_train_nothing(
    cast: Cast, make_pool: Any, outsider: Any
) -> None:
    """InstructGPT, appendix B: they made none of the training data."""
    pool = make_pool(tasks=1)
    authors = {"by ben": cast.ben.user, "by dee": outsider.user, "imported": None}
    for text, author in authors.items():
        Demonstration.objects.create(
            prompt=pool.prompts.get(), text=text, digest=text, author=author
        )
    found = {row["completion"] for row in selectors.demonstrations(pool, "all")}
    assert found == {"by ben", "imported"}


def test_trap_29_a_reward_model_is_measured_on_labelers_it_never_saw(
    make_job: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dee, held out, ranks the other way round: no gradient of hers, and a line in the report."""
    seen: list[torch.Tensor] = []
    compute = reward.KwiseRewardTrainer.compute_loss

    def record(self: Any, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        texts, pairs = texts_of(inputs), inputs["pairs"].tolist()
        seen.extend((texts[a].count(70), texts[b].count(70)) for a, b in pairs)
        return compute(self, model, inputs, *args, **kwargs)

    monkeypatch.setattr(reward.KwiseRewardTrainer, "compute_loss", record)
    rows = []
    for n in range(12):
        row = compared(f"{n}", ["zzz", "azz", "aaa"], [(2, 1), (2, 0), (1, 0)])
        dee = {"labeler": "dee", "held_out": True, "pairs": [[0, 1], [0, 2], [1, 2]]}
        rows.append({**row, "rankings": [*row["rankings"], dee]})
    params = {"epochs": 4, "learning_rate": 3e-3, "batch_prompts": 2, "validation_share": 0.25}
    job = make_job("reward", {"comparisons": rows}, params)
    reward.run(job)
    assert seen
    assert all(winner > loser for winner, loser in seen)
    found = json.loads((job.folder.artifacts / "model" / "report.json").read_text())
    by_labeler = {row["labeler"]: row for row in found["held_out"]["by_labeler"]}
    assert by_labeler["ada"]["seen"]
    assert not by_labeler["dee"]["seen"]
    assert by_labeler["ada"]["accuracy"] > 0.9 > 0.1 > by_labeler["dee"]["accuracy"]
