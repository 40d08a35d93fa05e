"""Prompts by labelers: propose one, see one's own; reviewers accept or reject."""

from __future__ import annotations

import uuid
from typing import Any, cast

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from labeling import selectors, services
from labeling.api.permissions import IsAdmin, IsLabeler, IsReviewer
from labeling.api.shared import MessageOutput, checked
from labeling.errors import InvalidInput
from labeling.models import USE_CASES, Application, Proposal, User

MAX_LISTED = 500


class TextField(serializers.CharField):
    """A text byte for byte; emptiness and length are checked by the service."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_blank=True, trim_whitespace=False, **options)


class TurnInput(serializers.Serializer[Any]):
    role = serializers.ChoiceField(choices=["system", "user", "assistant"])
    content = TextField()


class ExampleInput(serializers.Serializer[Any]):
    query = TextField()
    response = TextField()


class FewShotInput(serializers.Serializer[Any]):
    """What a few-shot prompt is made of."""

    instruction = TextField()
    examples = ExampleInput(many=True)
    query = TextField()


class ProposalInput(serializers.Serializer[Any]):
    """``messages`` of a plain or user-based prompt, ``few_shot`` of the third kind.

    ``application`` is the use case that a user-based prompt is for.
    """

    submission_id = serializers.UUIDField()
    pool = serializers.CharField(max_length=200)
    kind = serializers.ChoiceField(choices=Proposal.Kind.choices)
    use_case = serializers.ChoiceField(choices=USE_CASES)
    messages = TurnInput(many=True, required=False, default=list)
    few_shot = FewShotInput(required=False, allow_null=True, default=None)
    application = serializers.UUIDField(required=False, allow_null=True, default=None)


class ProposalOutput(serializers.Serializer[Any]):
    """A proposal as its author sees it."""

    id = serializers.UUIDField()
    pool = serializers.CharField()
    kind = serializers.ChoiceField(choices=Proposal.Kind.choices)
    use_case = serializers.CharField()
    application = serializers.CharField(allow_blank=True)
    messages = MessageOutput(many=True)
    few_shot = FewShotInput(allow_null=True)
    state = serializers.ChoiceField(choices=Proposal.State.choices)
    reason = serializers.CharField(allow_blank=True)
    accepted_messages = MessageOutput(many=True, allow_null=True)


class ReviewOutput(ProposalOutput):
    """A proposal as a reviewer sees it."""

    author = serializers.CharField()
    simulated = serializers.BooleanField()


class AcceptInput(serializers.Serializer[Any]):
    """Empty: as it is. ``messages`` or ``use_case``: as edited."""

    messages = TurnInput(many=True, required=False, allow_null=True, default=None)
    use_case = serializers.ChoiceField(
        choices=USE_CASES, required=False, allow_null=True, default=None
    )


class AcceptedOutput(serializers.Serializer[Any]):
    prompt = serializers.IntegerField()


class RejectInput(serializers.Serializer[Any]):
    reason = TextField()


class ApplicationAsked(serializers.Serializer[Any]):
    pool = serializers.CharField(max_length=200)
    after = serializers.UUIDField(required=False, allow_null=True, default=None)


class ApplicationOutput(serializers.Serializer[Any]):
    application = serializers.UUIDField()
    text = serializers.CharField()


class ApplicationsInput(serializers.Serializer[Any]):
    texts = serializers.ListField(child=TextField(), max_length=10_000)


class ApplicationsOutput(serializers.Serializer[Any]):
    accepted = serializers.IntegerField()
    duplicates = serializers.IntegerField()


LISTED = [
    OpenApiParameter("state", OpenApiTypes.STR, enum=Proposal.State.values),
    OpenApiParameter("limit", OpenApiTypes.INT, description=f"At most {MAX_LISTED}, the default."),
    OpenApiParameter("offset", OpenApiTypes.INT),
]


class ProposalListView(APIView):
    """The caller's own proposals, newest first; a new one for a pool that takes prompts."""

    permission_classes = [IsLabeler]

    @extend_schema(parameters=LISTED, responses=ProposalOutput(many=True))
    def get(self, request: Request) -> Response:
        rows = selectors.own_proposals(_caller(request))
        state = _state(request)
        if state:
            rows = rows.filter(state=state)
        return Response([selectors.proposal_payload(row) for row in rows[_window(request)]])

    @extend_schema(request=ProposalInput, responses={201: ProposalOutput})
    def post(self, request: Request) -> Response:
        given = checked(ProposalInput, request)
        pool = selectors.pool_named(given.pop("pool"))
        given["messages"] = [dict(turn) for turn in given["messages"]]
        stored = services.propose_prompt(_caller(request), pool=pool, **given)
        return Response(selectors.proposal_payload(stored), status=status.HTTP_201_CREATED)


class NextApplicationView(APIView):
    """A use case of the pool's waiting list for the caller to write a user-based prompt for."""

    permission_classes = [IsLabeler]

    @extend_schema(
        request=ApplicationAsked,
        responses={200: ApplicationOutput, 204: OpenApiResponse(None, "The pool has none.")},
    )
    def post(self, request: Request) -> Response:
        given = checked(ApplicationAsked, request)
        pool = selectors.pool_named(given["pool"])
        services.check_takes_prompts(pool)
        found = selectors.next_application(_caller(request), pool, after=given["after"])
        if found is None:
            return Response(status=status.HTTP_204_NO_CONTENT)
        return Response({"application": str(found.pk), "text": found.text})


class ReviewListView(APIView):
    """Proposals of everybody: those that wait, oldest first, unless another state is asked for."""

    permission_classes = [IsReviewer]

    @extend_schema(parameters=LISTED, responses=ReviewOutput(many=True))
    def get(self, request: Request) -> Response:
        rows = selectors.proposals_in(_state(request) or Proposal.State.PROPOSED)
        return Response([_review_row(row) for row in rows[_window(request)]])


class AcceptView(APIView):
    """The proposal becomes a prompt of its pool."""

    permission_classes = [IsReviewer]

    @extend_schema(request=AcceptInput, responses={201: AcceptedOutput})
    def post(self, request: Request, proposal_id: uuid.UUID) -> Response:
        given = checked(AcceptInput, request)
        prompt = services.accept_proposal(_caller(request), proposal_id, **given)
        return Response({"prompt": prompt.pk}, status=status.HTTP_201_CREATED)


class RejectView(APIView):
    """The proposal stays out of the pool; the author reads the reason."""

    permission_classes = [IsReviewer]

    @extend_schema(request=RejectInput, responses={204: None})
    def post(self, request: Request, proposal_id: uuid.UUID) -> Response:
        services.reject_proposal(_caller(request), proposal_id, **checked(RejectInput, request))
        return Response(status=status.HTTP_204_NO_CONTENT)


class ApplicationListView(APIView):
    """Adds use cases of a waiting list to a pool; those it has are counted as duplicates."""

    permission_classes = [IsAdmin]

    @extend_schema(request=ApplicationsInput, responses={201: ApplicationsOutput})
    def post(self, request: Request, pool_id: int) -> Response:
        texts = checked(ApplicationsInput, request)["texts"]
        added: list[Application] = services.add_applications(selectors.pool_of(pool_id), texts)
        answer = {"accepted": len(added), "duplicates": len(texts) - len(added)}
        return Response(answer, status=status.HTTP_201_CREATED)


def _caller(request: Request) -> User:
    return cast(User, request.user)


def _review_row(proposal: Proposal) -> dict[str, Any]:
    author = proposal.author
    return {
        **selectors.proposal_payload(proposal),
        "author": author.username,
        "simulated": author.is_simulated,
    }


def _state(request: Request) -> str:
    state = request.query_params.get("state", "")
    if state and state not in Proposal.State.values:
        raise InvalidInput(
            f"state must be one of {', '.join(Proposal.State.values)}", field="state"
        )
    return state


def _window(request: Request) -> slice:
    limit, offset = _number(request, "limit", MAX_LISTED), _number(request, "offset", 0)
    return slice(offset, offset + min(limit, MAX_LISTED))


def _number(request: Request, name: str, default: int) -> int:
    given = request.query_params.get(name, str(default))
    if not (given.isascii() and given.isdecimal() and len(given) <= 9):
        raise InvalidInput(f"{name} must be a whole number", field=name)
    return int(given)
