"""Known answers made by admins: items of a qualification, and control tasks."""

from __future__ import annotations

from collections.abc import Sequence

from django.db import transaction

from labeling.errors import InvalidInput
from labeling.execution import MAX_EXPLANATION_CHARACTERS, KnownAnswer, checked_ranks, store_item
from labeling.models import ControlTask, QualificationItem, Task, User


@transaction.atomic
def item_from_task(
    admin: User, task: Task, *, kind: str, ranks: Sequence[object], explanation: str = ""
) -> QualificationItem:
    """An item of the task's pool; ``ranks`` are the expected ones, by number of the completion.

    Raises InvalidInput: ranks that decide nothing, or an item that is there already.
    """
    if len(explanation) > MAX_EXPLANATION_CHARACTERS:
        message = f"An explanation may have {MAX_EXPLANATION_CHARACTERS} characters."
        raise InvalidInput(message, field="explanation")
    texts = list(task.completions.order_by("number").values_list("text", flat=True))
    checked = _checked(texts, ranks)
    completions = [{"text": t, "rank": r} for t, r in zip(texts, checked, strict=True)]
    known = KnownAnswer(task.prompt.messages, completions, explanation)
    item = store_item(task.prompt.pool, known, kind=kind, author=admin)
    if item is None:
        raise InvalidInput("The pool has this item with this ranking already.")
    return item


def retire_item(item: QualificationItem) -> None:
    """It is handed out no more; who has it in hand may finish it."""
    QualificationItem.objects.filter(pk=item.pk).update(is_active=False)


@transaction.atomic
def make_control(admin: User, task: Task, *, ranks: Sequence[object]) -> ControlTask:
    """Mark the task as a control, or correct its expected ranking. Raises InvalidInput."""
    texts = list(task.completions.values_list("pk", flat=True))
    given = {"ranks": _checked(texts, ranks), "is_active": True, "author": admin}
    return ControlTask.objects.update_or_create(task=task, defaults=given)[0]


def retire_control(control: ControlTask) -> None:
    """It is mixed in no more, and counts for no labeler's accuracy any more."""
    ControlTask.objects.filter(pk=control.pk).update(is_active=False)


def _checked(completions: Sequence[object], ranks: Sequence[object]) -> list[int]:
    if len(ranks) != len(completions):
        raise InvalidInput("Every completion needs an expected rank.", field="ranks")
    return checked_ranks(ranks)
