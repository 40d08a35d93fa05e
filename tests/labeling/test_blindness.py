"""What a labeler is shown does not depend on anything that must stay hidden."""

import json
from collections import Counter

import pytest

from labeling import services
from labeling.models import Assignment, Completion, Slot
from tests.conftest import as_lines, caller, line, rank, take

pytestmark = pytest.mark.django_db
HIDDEN = ["secret-model", "hidden-author", "hidden-source", "reference-answer"]


def test_no_hidden_column_reaches_a_labeler(cast, make_pool):
    pool = make_pool(tasks=0, overlap=2)
    row = line("hello") | {
        "author": "hidden-author", "source": "hidden-source", "reference": "reference-answer",
    }  # fmt: skip
    for completion in row["completions"]:
        completion["model"] = "secret-model"
    services.import_prompts(pool, as_lines(row))
    rank(cast.cho, pool)
    answer = cast.ben.post("assignments/next/", {"pool": pool.pk})
    shown = answer.content.decode() + json.dumps(dict(answer.headers))
    assert not [word for word in [*HIDDEN, "cho"] if word in shown]
    task = answer.json()
    assert all(set(c) == {"alias", "text"} for c in task["completions"])
    refused = cast.ben.post(f"assignments/{task['assignment']}/submit/", {"ranks": {}})
    assert not [word for word in HIDDEN if word in refused.content.decode()]


def test_labelers_cannot_read_what_is_not_theirs(cast, pool):
    for path in (
        f"pools/{pool.pk}/", f"pools/{pool.pk}/export/", "pools/", "runs/", "runs/1/", "models/",
    ):  # fmt: skip
        assert cast.ben.get(path).status_code == 403, path
    for path in ("pools/", f"pools/{pool.pk}/import/", f"pools/{pool.pk}/sample/", "runs/"):
        assert cast.ben.post(path).status_code == 403, path
        assert cast.rob.post(path).status_code == 403, path


def test_the_shown_order_is_random_and_kept(make_pool):
    pool = make_pool(tasks=1, overlap=60)
    firsts = Counter()
    for n in range(60):
        labeler = caller(f"labeler {n}".replace(" ", "-"), "labeler")
        firsts[take(labeler, pool)["completions"][0]["text"]] += 1
    assert set(firsts) == set(Completion.objects.values_list("text", flat=True))
    # 60 draws over 4 places: fewer than 4 at one place has a probability below 1e-3.
    assert min(firsts.values()) >= 3
    assert Slot.objects.filter(state="leased").count() == 60


def test_the_shown_order_follows_from_who_and_what_for_simulated_labelers_alone(cast, make_pool):
    """Two pools with the same prompts: whoever meets one again cannot foresee it, unless it is a
    program.
    """
    alike = [make_pool(tasks=6, overlap=3, name=f"alike {n}") for n in range(2)]

    def shown(labeler):
        for pool in alike:
            for _ in range(6):
                rank(labeler, pool)
        given = Assignment.objects.filter(labeler=labeler.user).order_by("created_at")
        orders = [(a.task.prompt.digest, tuple(a.shown_order)) for a in given]
        return sorted(orders[:6]), sorted(orders[6:])

    robots = [caller(f"robot-{n}", "labeler", is_simulated=True) for n in range(2)]
    (first, again), (other, _) = map(shown, robots)
    assert first == again
    assert first != other
    assert len({order for _, order in first}) > 1
    person, person_again = shown(cast.ben)
    assert person != person_again
    assert first not in (person, person_again)
