"""The task held ahead of its turn: one at most, on a real lease, given back unseen."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest
from django.db.models.functions import Now

from labeling import selectors, services
from labeling.models import Assignment, Ranking, Slot
from tests.conftest import caller, error_code, rank, submission, submit, take

pytestmark = pytest.mark.django_db


def ahead(labeler, task):
    return labeler.post(f"assignments/{task['assignment']}/ahead/")


def release(labeler, task):
    return labeler.post(
        f"assignments/{task['assignment']}/release/", {"lease_token": task["lease_token"]}
    )


def test_one_task_is_held_ahead_and_asking_again_gives_the_same(cast, make_pool):
    pool = make_pool(tasks=4)
    current = take(cast.ben, pool)
    first, again = ahead(cast.ben, current).json(), ahead(cast.ben, current).json()
    assert first["assignment"] == again["assignment"] != current["assignment"]
    assert set(first) == set(current), "it is shown by the same allow-list"
    assert Slot.objects.filter(state="leased").count() == 2
    # What comes next still is the task in hand, and then the one that was held.
    assert take(cast.ben, pool)["assignment"] == current["assignment"]
    submit(cast.ben, current)
    assert take(cast.ben, pool)["assignment"] == first["assignment"]


def test_there_is_none_ahead_of_the_last_task_or_in_a_closed_pool(cast, make_pool):
    pool = make_pool(tasks=1)
    assert ahead(cast.ben, take(cast.ben, pool)).status_code == 204
    other = make_pool(tasks=2)
    current = take(cast.ben, other)
    services.change_pool(other, is_open=False)
    assert ahead(cast.ben, current).status_code == 204


def test_a_task_held_ahead_is_nobody_elses_and_overlap_stays_exact(cast, make_pool):
    pool = make_pool(tasks=2)
    current = take(cast.ben, pool)
    ahead(cast.ben, current)
    assert cast.cho.post("assignments/next/", {"pool": pool.pk}).status_code == 204
    Slot.objects.update(lease_until=Now() - timedelta(seconds=1))
    held = Assignment.objects.exclude(pk=current["assignment"]).get()
    taken = services.lease_next(cast.cho.user, pool=pool)
    assert taken is not None, "an ended lease is free to others"
    rank(cast.cho, pool)
    rank(cast.cho, pool)
    assert Ranking.objects.filter(status="counted").count() == 2
    assert ahead(cast.ben, current).status_code == 204
    assert Slot.objects.filter(task=held.task, state="done").count() == 1


def test_an_unseen_task_is_given_back_as_if_it_had_never_been_leased(cast, make_pool):
    pool = make_pool(tasks=2)
    current = take(cast.ben, pool)
    held = ahead(cast.ben, current).json()
    assert release(cast.ben, held).status_code == 204
    assert release(cast.ben, held).status_code == 204, "leaving twice is no fault"
    assert not Assignment.objects.filter(pk=held["assignment"]).exists()
    assert Slot.objects.filter(state="free").count() == 1
    assert rank(cast.cho, pool)["status"] == "counted"


def test_what_was_seen_or_worked_on_is_never_given_back(cast, make_pool):
    pool = make_pool(tasks=3)
    current = take(cast.ben, pool)
    assert release(cast.ben, current).status_code == 204
    assert Assignment.objects.filter(pk=current["assignment"]).exists()
    for work in ("draft", "heartbeat"):
        held = ahead(cast.ben, current).json()
        body = {"lease_token": held["lease_token"]} | ({"draft": {}} if work == "draft" else {})
        assert cast.ben.post(f"assignments/{held['assignment']}/{work}/", body).status_code < 300
        release(cast.ben, held)
        assert Assignment.objects.get(pk=held["assignment"]).state == "open", work
        submit(cast.ben, held)


def test_only_its_labeler_can_ask_or_give_back(cast, make_pool):
    pool = make_pool(tasks=2)
    current = take(cast.ben, pool)
    held = ahead(cast.ben, current).json()
    assert ahead(cast.cho, current).status_code == 404
    release(cast.cho, held)
    refused = release(cast.ben, {**held, "lease_token": str(uuid.uuid4())})
    assert error_code(refused) == "foreign_lease"
    assert Assignment.objects.filter(pk=held["assignment"]).exists()


def test_what_is_only_held_is_not_yet_in_hand(cast, make_pool):
    pool = make_pool(tasks=2)
    current = take(cast.ben, pool)
    held = ahead(cast.ben, current).json()
    pools = selectors.open_pools()

    def in_hand():
        return {str(a.pk) for a in selectors.tasks_in_hand(cast.ben.user, pools)}

    assert in_hand() == {current["assignment"]}
    submit(cast.ben, current)
    assert in_hand() == set()
    take(cast.ben, pool)
    assert in_hand() == {held["assignment"]}


def test_everybody_who_works_ahead_finishes_the_pool_exactly(make_pool):
    pool = make_pool(tasks=5, overlap=2)
    people = [caller(f"p{n}", "labeler") for n in range(4)]
    hands = {p.user.pk: take(p, pool) for p in people}
    while hands:
        for person in people:
            task = hands.pop(person.user.pk, None)
            if task is None:
                continue
            held = ahead(person, task)
            assert submit(person, task, submission(task)).status_code == 201
            if held.status_code == 200:
                hands[person.user.pk] = held.json()
    assert Slot.objects.filter(state="done").count() == 10
    assert Ranking.objects.filter(status="counted").count() == 10


def test_a_draft_that_waited_does_not_land_on_a_newer_one(cast, make_pool):
    task = take(cast.ben, make_pool(tasks=1))

    def save(**draft):
        body = {"lease_token": task["lease_token"], "draft": draft}
        assert cast.ben.post(f"assignments/{task['assignment']}/draft/", body).status_code == 204
        return Assignment.objects.get().draft["note"]

    assert save(note="newer", at=2_000) == "newer"
    assert save(note="older", at=1_000) == "newer"
    assert save(note="newest", at=3_000) == "newest"
    assert save(note="a program's") == "a program's"
