"""The database refuses what no code should ever try."""

import uuid

import pytest
from django.db import IntegrityError, transaction

from labeling.models import Assignment, Comparison, Completion, Pool, Ranking, Slot, Task, User
from tests.conftest import rank, take

pytestmark = pytest.mark.django_db


def refused(change) -> bool:
    try:
        with transaction.atomic():
            change()
    except IntegrityError:
        return True
    return False


def test_slots(cast, make_pool):
    pool = make_pool(tasks=1, overlap=2)
    take(cast.ben, pool)
    leased = Slot.objects.get(state="leased")
    free = Slot.objects.get(state="free")
    assert refused(lambda: Slot.objects.create(task=free.task, pool=pool, number=free.number))
    assert refused(
        lambda: Slot.objects.filter(pk=free.pk).update(
            state="leased", labeler=cast.ben.user, lease_token=leased.lease_token,
            lease_until=leased.lease_until,
        )
    )  # fmt: skip
    assert refused(lambda: Slot.objects.filter(pk=free.pk).update(state="leased"))
    assert refused(lambda: Slot.objects.filter(pk=leased.pk).update(state="free"))
    assert refused(lambda: Slot.objects.filter(pk=free.pk).update(state="done"))


def test_rankings_and_comparisons(cast, pool):
    rank(cast.ben, pool)
    ranking, pair = Ranking.objects.get(), Comparison.objects.first()
    item = ranking.items.first()
    assert refused(lambda: Ranking.objects.create(
        assignment=ranking.assignment, task=ranking.task, labeler=cast.ben.user,
        status="late", submission_id=uuid.uuid4()))  # fmt: skip
    assert refused(lambda: Comparison.objects.create(
        ranking=ranking, a=pair.a, b=pair.b, preferred="a", rank_gap=1))  # fmt: skip
    assert refused(lambda: Comparison.objects.filter(pk=pair.pk).update(a=pair.b, b=pair.a))
    assert refused(lambda: Comparison.objects.filter(pk=pair.pk).update(preferred="tie"))
    assert refused(lambda: type(item).objects.filter(pk=item.pk).update(rank=0))
    assert refused(lambda: type(item).objects.filter(pk=item.pk).update(quality=8))


def test_tasks_completions_and_pools(cast, pool):
    task = Task.objects.first()
    assert refused(lambda: Task.objects.create(
        prompt=task.prompt, round=task.round, completion_count=4))  # fmt: skip
    assert refused(lambda: Task.objects.filter(pk=task.pk).update(completion_count=3))
    assert refused(lambda: Completion.objects.create(task=task, number=0, text="x"))
    assert refused(lambda: Pool.objects.filter(pk=pool.pk).update(completions_per_prompt=10))
    assert refused(lambda: Pool.objects.filter(pk=pool.pk).update(overlap=0))


def test_people(cast, pool):
    take(cast.ben, pool)
    assignment = Assignment.objects.get()
    assert refused(lambda: Assignment.objects.create(
        task=assignment.task, labeler=cast.ben.user, slot=assignment.slot,
        lease_token=assignment.lease_token, shown_order=[0]))  # fmt: skip
    assert refused(lambda: User.objects.filter(pk=cast.ben.user.pk).update(is_superuser=True))
    assert refused(lambda: User.objects.filter(pk=cast.ada.user.pk).update(is_staff=False))
