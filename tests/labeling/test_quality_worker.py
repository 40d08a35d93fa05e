"""The worker computes what is due, once, and stores it with what it was computed from."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from threading import Event

import pytest
from django.db.models import F
from django.db.models.functions import Now

from labeling import selectors, services
from labeling.execution.quality import compute_next_quality
from labeling.models import QualityFigure, QualityReport, Ranking, User
from labeling.tasks import compute_quality
from tests.conftest import caller, rank, submission, submit, take

pytestmark = pytest.mark.django_db
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def ranked(cast, make_pool):
    """Twelve tasks that Ben and Cho rank alike, and Dan upside down; one guideline version."""
    pool = make_pool(tasks=12, overlap=3, guidelines="Be fair.")
    dan = caller("dan", "labeler")
    for _ in range(12):
        for labeler, best in ((cast.ben, 0), (cast.cho, 0), (dan, 3)):
            rank_by_text(labeler, pool, best)
    return pool


def rank_by_text(labeler, pool, best):
    """Rank by the answer's own number, so that labelers agree whatever order they are shown."""
    task = take(labeler, pool)
    numbers = [int(c["text"].rsplit(" ", 1)[1]) for c in task["completions"]]
    answer = submit(labeler, task, submission(task, [1 + abs(n - best) for n in numbers]))
    assert answer.status_code == 201, answer.content


def figure(pool, name, **scope):
    wanted = {"labeler": None, "guideline_version": None} | scope
    return QualityFigure.objects.get(report__pool=pool, name=name, population="people", **wanted)


def test_the_figures_of_a_pool_are_those_of_its_rankings(cast, ranked):
    assert compute_next_quality()
    report = selectors.quality_of(ranked)
    assert (report.rankings, report.used_rankings, report.error) == (36, 36, "")
    assert report.computed_at is not None
    assert report.claimed_until is None
    # Ben and Cho are one, Dan is the reverse of both: one pair of labelers of three agrees.
    assert figure(ranked, "pairwise_agreement").value == pytest.approx(1 / 3)
    assert figure(ranked, "kendall_tau_b").value == pytest.approx(-1 / 3)
    assert figure(ranked, "pairwise_agreement", labeler=cast.ben.user).value == 0.5
    dan = User.objects.get(username="dan")
    assert figure(ranked, "pairwise_agreement", labeler=dan).value == 0
    assert figure(ranked, "reliability", labeler=cast.ben.user).value > 0.9
    assert figure(ranked, "reliability", labeler=dan).value < 0.1
    version = ranked.guideline_versions.get()
    assert figure(ranked, "kendall_tau_b", guideline_version=version).tasks == 12
    assert not QualityFigure.objects.filter(population="simulated", value__isnull=False).exists()


def test_nothing_new_is_not_computed_again_and_new_rankings_wait(cast, make_pool, settings):
    pool = make_pool(tasks=3, overlap=2)
    rank(cast.ben, pool)
    assert compute_next_quality()
    assert not compute_next_quality()
    rank(cast.ben, pool)
    assert not compute_next_quality(), "new rankings wait until the last figures are old enough"
    settings.QUALITY_EVERY_SECONDS = 0
    QualityReport.objects.update(seconds=0)
    assert compute_next_quality()
    assert selectors.quality_of(pool).rankings == 2
    assert not compute_next_quality()


def test_a_changed_ranking_is_new_too(cast, make_pool, settings):
    pool = make_pool(tasks=1)
    rank(cast.ben, pool)
    settings.QUALITY_EVERY_SECONDS = 0
    assert compute_next_quality()
    QualityReport.objects.update(seconds=0)
    Ranking.objects.update(revised_at=Now())
    assert compute_next_quality()
    assert not compute_next_quality()


def test_who_asks_gets_figures_at_once_and_only_once(cast, make_pool):
    pool = make_pool(tasks=1)
    rank(cast.ben, pool)
    compute_quality(Event())
    first = services.request_quality(pool).requested_at
    assert services.request_quality(pool).requested_at == first
    assert compute_next_quality()
    assert selectors.quality_of(pool).requested_at is None
    assert not compute_next_quality()


def test_one_worker_computes_at_a_time_and_a_lost_one_is_followed(cast, make_pool):
    pool = make_pool(tasks=1)
    rank(cast.ben, pool)
    QualityReport.objects.create(pool=pool, claimed_until=Now() + timedelta(minutes=1))
    assert not compute_next_quality()
    QualityReport.objects.update(claimed_until=Now() - timedelta(seconds=1))
    assert compute_next_quality()


def test_late_and_control_rankings_do_not_count(cast, make_pool):
    pool = make_pool(tasks=1, overlap=2)
    rank(cast.ben, pool)
    rank(cast.cho, pool)
    Ranking.objects.filter(labeler=cast.cho.user).update(status="late")
    assert compute_next_quality()
    assert selectors.quality_of(pool).rankings == 1


def test_people_and_simulated_labelers_are_never_mixed(cast, make_pool):
    pool = make_pool(tasks=12, overlap=2)
    robot = caller("robot", "labeler", is_simulated=True)
    for _ in range(12):
        rank_by_text(cast.ben, pool, 0)
        rank_by_text(robot, pool, 3)
    assert compute_next_quality()
    shared = QualityFigure.objects.filter(name="pairwise_agreement", labeler=None)
    assert {(f.population, f.value, f.tasks) for f in shared.filter(guideline_version=None)} == {
        ("people", None, 0), ("simulated", None, 0),
    }  # fmt: skip


def test_reviewers_read_them_and_labelers_do_not(cast, ranked):
    empty = cast.rob.get(f"pools/{ranked.pk}/quality/")
    assert empty.json()["computed_at"] is None
    asked = cast.rob.post(f"pools/{ranked.pk}/quality/")
    assert asked.status_code == 202
    assert compute_next_quality()
    body = cast.rob.get(f"pools/{ranked.pk}/quality/").json()
    assert body["pending"] is False
    assert body["rankings"] == 36
    tau = [f for f in body["figures"] if f["name"] == "kendall_tau_b" and f["labeler"] is None]
    assert tau[0]["low"] <= tau[0]["value"] <= tau[0]["high"]
    assert {f["labeler"] for f in body["figures"]} == {None, "ben", "cho", "dan"}
    for labeler in (cast.ben,):
        assert labeler.get(f"pools/{ranked.pk}/quality/").status_code == 403
        assert labeler.post(f"pools/{ranked.pk}/quality/").status_code == 403
    assert cast.rob.get("pools/999/quality/").status_code == 404


def test_an_interrupted_worker_leaves_the_former_figures(cast, ranked, monkeypatch):
    assert compute_next_quality()
    before = set(QualityFigure.objects.values_list("pk", flat=True))
    services.request_quality(ranked)
    monkeypatch.setattr(
        "labeling.quality.figures.figures_of", lambda rows: (_ for _ in ()).throw(KeyboardInterrupt)
    )
    with pytest.raises(KeyboardInterrupt):
        compute_next_quality()
    assert set(QualityFigure.objects.values_list("pk", flat=True)) == before
    QualityReport.objects.update(claimed_until=F("claimed_until") - timedelta(hours=1))
    monkeypatch.undo()
    assert compute_next_quality()


def test_the_web_process_loads_none_of_the_statistics():
    heavy = "{'scipy', 'crowdkit', 'krippendorff', 'numpy', 'pandas', 'sklearn', 'torch'}"
    code = (
        "import sys, config.wsgi; from django.urls import get_resolver\n"
        "import labeling.tasks, training.tasks\n"
        f"get_resolver().url_patterns; print(sorted({heavy} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_the_statistics_load_no_torch():
    code = (
        "import sys, labeling.quality.figures\n"
        "print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
