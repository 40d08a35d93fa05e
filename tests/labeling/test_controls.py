"""Control tasks: mixed in silently, told apart by nothing, counted nowhere."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from labeling import lifecycle, selectors, services
from labeling.errors import InvalidInput
from labeling.models import Assignment, ControlTask, Pool, Qualification, Ranking, Slot, Task, User
from tests.conftest import (
    Caller,
    Cast,
    as_lines,
    caller,
    error_code,
    line,
    rank,
    submission,
    submit,
    take,
)
from tests.labeling.test_races import in_threads

KNOWN = [1, 2, 3, 4]


def signed_in(who: Caller) -> Client:
    client = Client()
    client.force_login(who.user)
    return client


def add_controls(pool: Pool, admin: User, count: int) -> list[ControlTask]:
    """New tasks that are controls, their ordinary slots done by others long ago."""
    mark = uuid.uuid4().hex[:6]
    services.import_prompts(pool, as_lines(*(line(f"known {mark} {n}") for n in range(count))))
    tasks = Task.objects.filter(prompt__pool=pool).order_by("-id")[:count]
    old = caller(f"old-{mark}", "labeler")
    controls = []
    for task in tasks:
        Slot.objects.filter(task=task).update(state="done", labeler=old.user)
        controls.append(services.make_control(admin, task, ranks=KNOWN))
    return controls


@pytest.fixture
def mixed(cast: Cast, make_pool: Callable[..., Pool]) -> Pool:
    """A pool whose every task is a control as long as there is one: two, beside two ordinary."""
    pool = make_pool(tasks=2, name="mixed", control_share=0.5)
    add_controls(pool, cast.ada.user, 2)
    return pool


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """The draw always says: a control."""
    monkeypatch.setattr("labeling.lifecycle.secrets.SystemRandom", _Low)


class _Low:
    def random(self) -> float:
        return 0.0

    def shuffle(self, order: list[int]) -> None:
        order.reverse()

    def choice(self, tasks: list[int]) -> int:
        return tasks[-1]


def as_known(task: dict[str, Any], *, right: bool = True) -> dict[str, Any]:
    """A submission in the expected order of the completions, or in the reverse of it."""
    texts = sorted(c["text"] for c in task["completions"])
    place = {text: n for n, text in enumerate(texts, start=1)}
    last = len(texts) + 1
    given = [place[c["text"]] for c in task["completions"]]
    return submission(task, [n if right else last - n for n in given])


# --- handing out ----------------------------------------------------------------------------------


@pytest.mark.django_db
def test_without_a_share_no_control_comes(cast: Cast, mixed: Pool, always: None) -> None:
    services.change_pool(mixed, control_share=0.0)
    rank(cast.ben, mixed)
    rank(cast.ben, mixed)
    assert set(Ranking.objects.values_list("status", flat=True)) == {"counted"}
    assert cast.ben.post("assignments/next/", {"pool": mixed.pk}).status_code == 204


@pytest.mark.django_db
def test_controls_come_at_the_share_of_the_pool_and_each_once(
    cast: Cast, make_pool: Callable[..., Pool]
) -> None:
    pool = make_pool(tasks=30, name="share", control_share=0.5, overlap=1)
    add_controls(pool, cast.ada.user, 30)
    for _ in range(30):
        rank(cast.ben, pool)
    controls = Ranking.objects.filter(status="control")
    # 30 draws at 0.5: fewer than 5 or more than 25 have a probability below 1e-4.
    assert 5 <= controls.count() <= 25
    assert controls.values("task").distinct().count() == controls.count()


@pytest.mark.django_db
def test_which_controls_a_simulated_labeler_is_given_follows_from_its_name(
    cast: Cast, make_pool: Callable[..., Pool]
) -> None:
    def given(name: str) -> list[str]:
        """The ordinary tasks in whose place a control came, in two pools that are alike."""
        robot = caller(name, "labeler", is_simulated=True)
        found = []
        for number in range(2):
            pool = make_pool(tasks=12, name=f"{name} {number}", control_share=0.5)
            add_controls(pool, cast.ada.user, 12)
            tasks = [Assignment.objects.get(pk=rank_one(robot, pool)) for _ in range(12)]
            found.append("".join("c" if task.slot.is_control else "." for task in tasks))
        assert found[0] == found[1]
        return found[0]

    first, second = given("robot-1"), given("robot-2")
    assert set(first) == {"c", "."}
    assert first != second


def rank_one(labeler: Caller, pool: Pool) -> str:
    """The id of the assignment that was ranked."""
    task = take(labeler, pool)
    assert submit(labeler, task).status_code == 201
    return str(task["assignment"])


@pytest.mark.django_db
def test_a_control_comes_in_the_place_of_work_and_never_without_it(
    cast: Cast, mixed: Pool, always: None
) -> None:
    Slot.objects.filter(state="free", is_control=False).update(state="done", labeler=cast.cho.user)
    assert cast.ben.post("assignments/next/", {"pool": mixed.pk}).status_code == 204
    assert not Slot.objects.filter(is_control=True).exists()


@pytest.mark.django_db
def test_overlap_stays_exact_and_nothing_of_controls_is_counted(
    cast: Cast, mixed: Pool, always: None
) -> None:
    before = selectors.pool_progress(mixed)
    for labeler in (cast.ben, cast.cho):
        for _ in range(2):
            assert submit(labeler, take(labeler, mixed)).json()["status"] == "counted"
    assert Ranking.objects.filter(status="control").count() == 4
    after = selectors.pool_progress(mixed)
    assert after == before
    for kind in ("rankings", "comparisons"):
        export = cast.rob.get(f"pools/{mixed.pk}/export/", kind=kind)
        assert b"".join(export.streaming_content) == b""
    ordinary = Slot.objects.filter(is_control=False, task__control=None)
    assert set(ordinary.values_list("state", flat=True)) == {"free"}
    # What they did is all there for all that.
    assert sum(r.comparisons.count() for r in Ranking.objects.all()) == 4 * 6


@pytest.mark.django_db
def test_no_training_reads_controls(cast: Cast, mixed: Pool, always: None) -> None:
    from training.selectors import comparison_groups, training_rankings

    submit(cast.ben, take(cast.ben, mixed))
    assert not training_rankings(mixed, "all").exists()
    assert list(comparison_groups(mixed, "all", with_held_out=True)) == []


@pytest.mark.django_db
def test_the_doctor_finds_nothing_wrong_with_controls(
    cast: Cast, mixed: Pool, always: None
) -> None:
    from training.management.commands import doctor

    Slot.objects.filter(state="done").update(state="free", labeler=None)
    submit(cast.ben, take(cast.ben, mixed))
    take(cast.cho, mixed)
    for check in (
        doctor.overlap_is_kept,
        doctor.slots_agree_with_rankings,
        doctor.comparisons_match_rankings,
    ):
        assert list(check()) == []


@pytest.mark.django_db
def test_an_ended_lease_of_a_control_is_taken_anew_and_by_nobody_else(
    cast: Cast, mixed: Pool, always: None
) -> None:
    task = take(cast.ben, mixed)
    control = Slot.objects.get(is_control=True)
    Slot.objects.filter(pk=control.pk).update(
        state="free", labeler=None, lease_token=None, lease_until=None
    )
    late = submit(cast.ben, task)
    assert error_code(late) == "lease_expired"
    # Another labeler gets a place of their own.
    take(cast.cho, mixed)
    assert Slot.objects.filter(is_control=True).count() == 2
    beat = cast.ben.post(
        f"assignments/{task['assignment']}/heartbeat/", {"lease_token": task["lease_token"]}
    )
    assert beat.status_code == 200
    assert submit(cast.ben, task).json()["status"] == "counted"
    control.refresh_from_db()
    assert (control.state, control.labeler) == ("done", cast.ben.user)


@pytest.mark.django_db
def test_a_lost_lease_of_ordinary_work_never_takes_a_control_place(cast: Cast, mixed: Pool) -> None:
    services.change_pool(mixed, control_share=0.0)
    task = take(cast.ben, mixed)
    held = Slot.objects.get(state="leased")
    Slot.objects.filter(pk=held.pk).update(state="done", labeler=cast.cho.user, lease_until=None)
    Slot.objects.create(task=held.task, pool=mixed, number=50, is_control=True)
    assert submit(cast.ben, task).json()["status"] == "late"


@pytest.mark.django_db
def test_a_skipped_control_does_not_come_again(cast: Cast, mixed: Pool, always: None) -> None:
    seen = set()
    for _ in range(2):
        task = take(cast.ben, mixed)
        seen.add(Assignment.objects.get(pk=task["assignment"]).task_id)
        body = {"lease_token": task["lease_token"], "reason": "unclear"}
        cast.ben.post(f"assignments/{task['assignment']}/skip/", body)
    assert len(seen) == 2
    task = take(cast.ben, mixed)
    assert not Assignment.objects.get(pk=task["assignment"]).slot.is_control


def test_many_labelers_get_the_same_control_at_once(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("labeling.lifecycle.secrets.SystemRandom", _Low)
    pool = services.create_pool(name="race", overlap=8, control_share=0.5)
    services.import_prompts(pool, as_lines(line("work")))
    services.change_pool(pool, overlap=1)
    add_controls(pool, services.create_user(username="ada", password=None, role="admin"), 1)
    people = [
        services.create_user(username=f"p{n}", password=None, role="labeler") for n in range(8)
    ]
    got = in_threads(lambda person: services.lease_next(person, pool=pool), people)
    assert all(assignment.slot.is_control for assignment in got)
    numbers = Slot.objects.filter(is_control=True).values_list("number", flat=True)
    assert len(set(numbers)) == 8
    tabs = in_threads(lambda _: services.lease_next(people[0], pool=pool).pk, list(range(4)))
    assert len(set(tabs)) == 1


# --- blindness ------------------------------------------------------------------------------------


def shape(value: Any) -> Any:
    """The keys and types of an answer, without its texts."""
    if isinstance(value, dict):
        return {key: shape(inner) for key, inner in sorted(value.items())}
    if isinstance(value, list):
        return [shape(inner) for inner in value]
    return type(value).__name__


@pytest.mark.django_db
def test_a_control_cannot_be_told_from_other_work(
    cast: Cast, make_pool: Callable[..., Pool], always: None
) -> None:
    pool = make_pool(tasks=2, name="blind", control_share=0.5, guidelines="Be kind.")
    add_controls(pool, cast.ada.user, 1)
    told = []
    for _ in range(2):
        client = signed_in(cast.ben)
        response = cast.ben.post("assignments/next/", {"pool": pool.pk})
        task = response.json()
        page = client.get(f"/assignments/{task['assignment']}/").content.decode()
        assert "control" not in json.dumps(task)
        assert not [w for w in ("control-task", "is_control", "controltask") if w in page]
        beat = cast.ben.post(
            f"assignments/{task['assignment']}/heartbeat/", {"lease_token": task["lease_token"]}
        )
        done = submit(cast.ben, task)
        again = submit(cast.ben, task)
        told.append(
            [
                shape(task),
                sorted(response.headers),
                shape(beat.json()),
                {**done.json(), "ranking": 0},
                error_code(again),
            ]
        )
    kinds = Assignment.objects.order_by("created_at").values_list("slot__is_control", flat=True)
    assert list(kinds) == [True, False]
    assert told[0] == told[1]


@pytest.mark.django_db
def test_no_count_that_a_labeler_sees_stands_still_for_a_control(
    cast: Cast, mixed: Pool, always: None
) -> None:
    def counts() -> dict[str, int]:
        [(_, progress)] = selectors.pools_for(cast.ben.user)
        return {name: progress[name] for name in ("open", "leased", "done")}

    before = counts()
    task = take(cast.ben, mixed)
    assert Slot.objects.filter(is_control=True, state="leased").exists()
    held = counts()
    assert held == {**before, "open": before["open"] - 1, "leased": before["leased"] + 1}
    submit(cast.ben, task)
    assert counts() == {**before, "open": before["open"] - 1, "done": before["done"] + 1}
    assert selectors.rankings_today(cast.ben.user) == 1
    # Reviewers see what is true.
    [(_, true)] = selectors.pools_for(cast.rob.user)
    assert {name: true[name] for name in before} == before


@pytest.mark.django_db
def test_a_labelers_own_pages_show_a_control_as_any_other_ranking(
    cast: Cast, make_pool: Callable[..., Pool], always: None
) -> None:
    pool = make_pool(tasks=2, name="own", control_share=0.5)
    add_controls(pool, cast.ada.user, 1)
    for _ in range(2):
        submit(cast.ben, take(cast.ben, pool))
    assert set(Ranking.objects.values_list("status", flat=True)) == {"counted", "control"}
    rows = selectors.recent_rankings(cast.ben.user)
    assert [row["status"] for row in rows] == ["counted", "counted"]
    assert all(row["seconds_left"] > 0 for row in rows)
    html = signed_in(cast.ben).get("/rankings/").content.decode()
    assert "control" not in html.lower()


# --- what controls tell ---------------------------------------------------------------------------


def rank_controls(cast: Cast, pool: Pool, labeler: Caller, rights: list[bool]) -> None:
    add_controls(pool, cast.ada.user, len(rights))
    for right in rights:
        task = take(labeler, pool)
        assert submit(labeler, task, as_known(task, right=right)).status_code == 201


@pytest.mark.django_db
def test_accuracy_by_labeler_has_an_interval_and_a_warning(
    cast: Cast, make_pool: Callable[..., Pool], always: None
) -> None:
    pool = make_pool(tasks=1, name="accuracy", control_share=0.5, control_threshold=0.7)
    rank_controls(cast, pool, cast.ben, [True, True, False, False, False])
    [figure] = selectors.control_figures(pool=pool)
    assert (figure.labeler, figure.tasks, figure.agreement) == (cast.ben.user, 5, 0.4)
    assert figure.interval.low == pytest.approx(0.1176, abs=1e-4)
    assert figure.is_low
    studio = signed_in(cast.ada)
    user_page = reverse("admin:labeling_user_change", args=[cast.ben.user.pk])
    for address in (user_page, reverse("admin:labeling_pool_change", args=[pool.pk])):
        html = studio.get(address).content.decode()
        assert "40 %" in html
        assert "below 70 %" in html
    # Off by default: a warning pauses nobody.
    assert not Qualification.objects.exists()
    rank(cast.ben, pool)
    # A control that was wrong is retired, and speaks no more.
    services.retire_control(ControlTask.objects.first())
    assert selectors.control_figures(pool=pool)[0].tasks == 4
    assert not selectors.control_figures(pool=pool)[0].is_low


@pytest.mark.django_db
def test_a_pool_may_pause_who_falls_below_its_threshold(
    cast: Cast, make_pool: Callable[..., Pool], always: None
) -> None:
    pool = make_pool(tasks=2, name="pause", control_share=0.5, control_pauses=True)
    rank_controls(cast, pool, cast.cho, [True] * 5)
    rank_controls(cast, pool, cast.ben, [False] * 4)
    assert not Qualification.objects.exists()
    task = take(cast.ben, pool)
    assert submit(cast.ben, task, as_known(task, right=False)).json()["status"] == "counted"
    paused = Qualification.objects.get()
    assert (paused.labeler, paused.state) == (cast.ben.user, "paused")
    refused = cast.ben.post("assignments/next/", {"pool": pool.pk})
    assert (refused.status_code, error_code(refused)) == (403, "work_paused")
    assert "control" not in refused.content.decode()
    services.grant_qualification(cast.ada.user, cast.ben.user, pool)
    rank(cast.ben, pool)


@pytest.mark.django_db
def test_an_admin_marks_corrects_and_retires_a_control(cast: Cast, pool: Pool) -> None:
    task = Task.objects.first()
    studio = signed_in(cast.ada)
    address = reverse("admin:labeling_task_known_answer", args=[task.pk])
    ranks = {f"rank_{n}": n + 1 for n in range(4)}
    assert studio.post(address, {"use": "control", **ranks}).status_code == 302
    control = ControlTask.objects.get()
    assert (control.ranks, control.author) == ([1, 2, 3, 4], cast.ada.user)
    assert studio.post(address, {"use": "control", **ranks, "rank_0": 4}).status_code == 302
    control.refresh_from_db()
    assert control.ranks == [4, 2, 3, 4]
    incomplete = studio.post(address, {"use": "control", "rank_0": 1})
    assert incomplete.status_code == 422
    studio.post(reverse("admin:labeling_controltask_retire", args=[control.pk]))
    control.refresh_from_db()
    assert not control.is_active
    with pytest.raises(InvalidInput):
        services.make_control(cast.ada.user, task, ranks=[1, 2])
    for who in (cast.ben, cast.rob):
        assert signed_in(who).get(address).status_code == 302


@pytest.mark.django_db
def test_a_retired_control_is_ordinary_work(cast: Cast, mixed: Pool, always: None) -> None:
    for control in ControlTask.objects.all():
        services.retire_control(control)
    rank(cast.ben, mixed)
    assert Ranking.objects.get().status == "counted"
    assert lifecycle.release_ended_leases() == 0
