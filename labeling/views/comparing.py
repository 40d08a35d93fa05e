"""Answers of one task beside each other, with their differences marked."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from labeling import selectors
from labeling.rendering.document import Renderer
from labeling.rendering.invisible import MARK_LIMIT, Mark, pieces
from labeling.similarity import Part, TooLong, differences, share_little
from labeling.views.reading import VIEWS
from labeling.views.shared import LabelerRequest, or_404


@dataclass(frozen=True)
class Side:
    """An answer in a comparison: in parts where its differences are marked, else as it is."""

    alias: str
    text: str
    parts: list[Part] | None = None
    note: str = ""


@dataclass(frozen=True)
class Pair:
    """Which two answers are compared and how, as an address says it."""

    a: str
    b: str
    view: str
    marks: bool

    @property
    def address(self) -> str:
        query = {"a": self.a, "b": self.b, "view": self.view}
        return "?" + urlencode(query if self.marks else {**query, "marks": "off"})


@never_cache
@login_required
@require_GET
def compare(request: LabelerRequest, assignment_id: uuid.UUID) -> HttpResponse:
    """``a`` beside ``b``, as a page; without ``b``, what differs from ``a`` in all the others.

    Marks are made on the text as it was written; where Markdown is the view, ``marks=off`` shows
    it.
    """
    task = _task(request, assignment_id)
    texts = {completion["alias"]: completion["text"] for completion in task["completions"]}
    a, b = request.GET.get("a", ""), request.GET.get("b", "")
    if a not in texts or (b and b not in texts) or a == b:
        raise Http404
    asked = request.GET.get("view", request.COOKIES.get("view", ""))
    view = asked if asked in VIEWS else VIEWS[0]
    if not b:
        return _compare_all(request, task, texts, a, view)
    pair = Pair(a, b, view, request.GET.get("marks") != "off")
    sides = Side(a, texts[a]), Side(b, texts[b])
    others = [alias for alias in texts if alias not in (a, b)]
    context = {
        "task": task,
        "pair": pair,
        "without": replace(pair, marks=not pair.marks).address,
        "sides": _compared(*sides, raw=view == "raw") if pair.marks else sides,
        "others": [
            [(alias, replace(pair, a=alias).address) for alias in others],
            [(alias, replace(pair, b=alias).address) for alias in others],
        ],
        "view": view,
        "renderer": Renderer(),
    }
    return render(request, "labeling/compare.html", context)


def _compare_all(
    request: LabelerRequest, task: dict[str, Any], texts: dict[str, str], a: str, view: str
) -> HttpResponse:
    reference = Side(a, texts[a])
    sides = [
        (
            _compared(reference, Side(alias, text), raw=False)[1],
            Pair(a, alias, view, True).address,
        )
        for alias, text in texts.items()
        if alias != a
    ]
    context = {"task": task, "reference": reference, "sides": sides}
    return render(request, "labeling/compare_all.html", context)


def _task(request: LabelerRequest, assignment_id: uuid.UUID) -> dict[str, Any]:
    return selectors.task_payload(or_404(selectors.assignment_of, request.user, assignment_id))


def _compared(a: Side, b: Side, *, raw: bool) -> tuple[Side, Side]:
    """Both with their differences as parts; as they are, with the reason, where there are none."""
    try:
        if _hides_much(a.text, raw=raw) or _hides_much(b.text, raw=raw):
            raise TooLong
        parts_a, parts_b = differences(a.text, b.text)
    except TooLong:
        return _noted(a, b, _("Too long to mark the differences."))
    if not any(part.differs for part in parts_a + parts_b):
        same = _("The same, letter by letter.") if a.text == b.text else _("Only blanks differ.")
        return _noted(a, b, same)
    if share_little(parts_a, parts_b):
        return _noted(a, b, _("They have too little in common to mark the differences."))
    return replace(a, parts=parts_a), replace(b, parts=parts_b)


def _noted(a: Side, b: Side, note: str) -> tuple[Side, Side]:
    return replace(a, note=note), replace(b, note=note)


def _hides_much(text: str, *, raw: bool) -> bool:
    """Whether more characters need a name than are named in one text."""
    return sum(isinstance(piece, Mark) for piece in pieces(text, raw=raw)) >= MARK_LIMIT
