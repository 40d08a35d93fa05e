"""What the pages for writing and for prompts as conversations need in their templates."""

from __future__ import annotations

from typing import Any

from django import template
from django.template import Context
from django.utils.translation import gettext as _

from labeling import selectors
from labeling.models import USE_CASES, User
from labeling.templatetags.podium import snippet

register = template.Library()


@register.filter
def role_name(role: str) -> str:
    """Whose turn it is, in the reader's language."""
    names = {"system": _("System"), "user": _("User"), "assistant": _("Assistant")}
    return names.get(role, role)


@register.filter
def use_case_name(use_case: str) -> str:
    return str(dict(USE_CASES).get(use_case, use_case))


@register.filter
def last_words(messages: list[dict[str, str]]) -> str:
    """A conversation on one line: what its last turn asks."""
    return snippet(messages[-1]["content"])


@register.inclusion_tag("labeling/_home_writing.html", takes_context=True)
def writing_home(context: Context) -> dict[str, Any]:
    """The rows of the first page: what there is to write and, for reviewers, to review."""
    user: User = context["user"]
    return {
        "can_demonstrate": selectors.pools_to_demonstrate().exists(),
        "can_propose": selectors.pools_to_propose_for().exists(),
        "has_demonstrations": user.demonstrations.exists(),
        "has_proposals": user.proposals.exists(),
        "is_reviewer": user.is_reviewer,
        "waiting": selectors.proposals_waiting() if user.is_reviewer else 0,
    }
