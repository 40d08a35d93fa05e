"""Known traps of the data: what is held out, how rankings become pairs."""

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

from labeling import ordering
from labeling.models import Demonstration, User
from tests.conftest import Cast, caller, rank
from tests.rlhf.conftest import compared, events_of, metrics_of, said
from tests.rlhf.toys import (
    texts_of,
)
from training import selectors
from training.models import Run
from training.rlhf import reward
from training.rlhf.comparisons import load_comparisons
from training.rlhf.rendering import Renderer
from training.rlhf.scoring import raw_scores
from training.rlhf.splitting import split

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
