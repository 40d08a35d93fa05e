"""Prompts that labelers write: where they may, what they see of it, what waits for a reviewer."""

from __future__ import annotations

import uuid
from typing import Any

from django.db.models import Count, Exists, OuterRef, Q, QuerySet
from django.utils.translation import gettext as _

from labeling.errors import NotFound
from labeling.models import Application, Pool, Proposal, User
from labeling.selectors.pools import open_pools


def pools_to_propose_for() -> QuerySet[Pool]:
    return open_pools().filter(takes_prompts=True)


def own_proposals(author: User) -> QuerySet[Proposal]:
    """Newest first."""
    return author.proposals.select_related("pool", "application", "prompt").order_by("-created_at")


def own_proposal(author: User, proposal_id: uuid.UUID) -> Proposal:
    """Raises NotFound, also for somebody else's."""
    found = own_proposals(author).filter(pk=proposal_id).first()
    if found is None:
        raise NotFound(_("You have proposed no such prompt."))
    return found


def proposal_payload(proposal: Proposal) -> dict[str, Any]:
    """What an author sees of its own proposal: an allow-list, without the reviewer."""
    accepted = proposal.prompt.messages if proposal.prompt else None
    return {
        "id": str(proposal.pk),
        "pool": proposal.pool.name,
        "kind": proposal.kind,
        "use_case": proposal.use_case,
        "application": proposal.application.text if proposal.application else "",
        "messages": proposal.messages,
        "few_shot": proposal.parts,
        "state": proposal.state,
        "reason": proposal.reason,
        "accepted_messages": accepted if accepted != proposal.messages else None,
    }


def proposals_in(state: str) -> QuerySet[Proposal]:
    """For reviewers: those that wait oldest first, those done newest first."""
    order = "created_at" if state == Proposal.State.PROPOSED else "-reviewed_at"
    return (
        Proposal.objects.filter(state=state)
        .select_related("pool", "author", "application", "prompt", "reviewer")
        .order_by(order, "pk")
    )


def proposal_of(proposal_id: uuid.UUID) -> Proposal:
    """For reviewers. Raises NotFound."""
    found = (
        Proposal.objects.filter(pk=proposal_id)
        .select_related("pool", "author", "application", "prompt", "reviewer")
        .first()
    )
    if found is None:
        raise NotFound(_("There is no such proposal."))
    return found


def proposals_waiting() -> int:
    return Proposal.objects.filter(state=Proposal.State.PROPOSED).count()


def next_application(
    author: User, pool: Pool, *, after: uuid.UUID | None = None
) -> Application | None:
    """A use case for ``author`` to write a prompt for; None when there is none.

    Those without a prompt of the author's come first, then those with the fewest by anybody.
    ``after`` is one that the author was given and passes over: the next in that order.
    """
    own = Proposal.objects.filter(author=author, application=OuterRef("pk"))
    live = ~Q(proposals__state=Proposal.State.REJECTED)
    ordered = (
        Application.objects.filter(pool=pool, is_open=True)
        .annotate(done=Exists(own), there=Count("proposals", filter=live))
        .order_by("done", "there", "created_at", "pk")
    )
    keys = list(ordered.values_list("pk", flat=True))
    if not keys:
        return None
    place = (keys.index(after) + 1) % len(keys) if after in keys else 0
    return Application.objects.get(pk=keys[place])
