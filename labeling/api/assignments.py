"""What a labeler's page or program calls: the next task, and what comes of it."""

from __future__ import annotations

import uuid
from typing import Any, cast

from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from labeling import selectors, services
from labeling.api.permissions import IsLabeler
from labeling.api.shared import GuidelinesOutput, NextInput, PromptOutput, asked_pool, checked
from labeling.models import User


class CompletionOutput(serializers.Serializer[Any]):
    alias = serializers.CharField()
    text = serializers.CharField()


class TaskOutput(serializers.Serializer[Any]):
    """All that a labeler sees of a task."""

    assignment = serializers.UUIDField()
    lease_token = serializers.UUIDField()
    lease_seconds = serializers.IntegerField()
    pool = serializers.CharField()
    prompt = PromptOutput()
    warnings = serializers.ListField(
        child=serializers.CharField(),
        help_text="Sensitive topics of the prompt, to be told before its texts are shown.",
    )
    completions = CompletionOutput(many=True)
    alike = serializers.ListField(
        child=serializers.ListField(child=serializers.CharField()),
        help_text="Groups of aliases whose texts say the same in nearly the same words.",
    )
    rubric = serializers.JSONField()
    guidelines = GuidelinesOutput()
    draft = serializers.JSONField(allow_null=True)


class LeaseInput(serializers.Serializer[Any]):
    lease_token = serializers.UUIDField()


class AnswersInput(serializers.Serializer[Any]):
    """``ranks``: alias → 1..K, 1 the best, equal numbers tie. ``submission_id``: made by the
    client, once.
    """

    submission_id = serializers.UUIDField()
    # Contents are checked by the service, which names the aliases at fault.
    ranks = serializers.DictField()
    ratings = serializers.DictField(required=False, allow_null=True, default=None)
    flags = serializers.DictField(required=False, allow_null=True, default=None)
    note = serializers.CharField(
        required=False, allow_blank=True, allow_null=True, default="", trim_whitespace=False
    )


class SubmitInput(AnswersInput, LeaseInput):
    """A ranking under the lease of its assignment."""


class SubmitOutput(serializers.Serializer[Any]):
    ranking = serializers.IntegerField()
    comparisons = serializers.IntegerField()
    status = serializers.ChoiceField(["counted", "late"])


class DraftInput(LeaseInput):
    draft = serializers.DictField()


class SkipInput(LeaseInput):
    reason = serializers.CharField(max_length=500)


class LeaseOutput(serializers.Serializer[Any]):
    lease_seconds = serializers.IntegerField()


class NextAssignmentView(APIView):
    """Leases a task to the caller: the one in hand again, or the next."""

    permission_classes = [IsLabeler]

    @extend_schema(
        request=NextInput,
        responses={
            200: TaskOutput,
            204: OpenApiResponse(None, "None is free now; see Retry-After."),
        },
    )
    def post(self, request: Request) -> Response:
        pool = asked_pool(request)
        labeler = cast(User, request.user)
        assignment = services.lease_next(labeler, pool=pool)
        if assignment is None:
            wait = selectors.retry_after(labeler, pool)
            return Response(status=status.HTTP_204_NO_CONTENT, headers={"Retry-After": str(wait)})
        return Response(selectors.task_payload(assignment))


class SubmitView(APIView):
    """Stores the ranking with its comparisons and ends the assignment."""

    permission_classes = [IsLabeler]

    @extend_schema(request=SubmitInput, responses={201: SubmitOutput})
    def post(self, request: Request, assignment_id: uuid.UUID) -> Response:
        given = checked(SubmitInput, request)
        given["note"] = given["note"] or ""
        submitted = services.submit_ranking(cast(User, request.user), assignment_id, **given)
        return Response(submitted._asdict(), status=status.HTTP_201_CREATED)


class DraftView(APIView):
    """Keeps unfinished work."""

    permission_classes = [IsLabeler]

    @extend_schema(request=DraftInput, responses={204: None})
    def post(self, request: Request, assignment_id: uuid.UUID) -> Response:
        given = checked(DraftInput, request)
        services.save_draft(cast(User, request.user), assignment_id, **given)
        return Response(status=status.HTTP_204_NO_CONTENT)


class SkipView(APIView):
    """Gives the task back, with the reason."""

    permission_classes = [IsLabeler]

    @extend_schema(request=SkipInput, responses={204: None})
    def post(self, request: Request, assignment_id: uuid.UUID) -> Response:
        given = checked(SkipInput, request)
        services.skip_assignment(cast(User, request.user), assignment_id, **given)
        return Response(status=status.HTTP_204_NO_CONTENT)


class HeartbeatView(APIView):
    """Extends the lease; one that has ended is taken anew while the task has a place."""

    permission_classes = [IsLabeler]

    @extend_schema(request=LeaseInput, responses=LeaseOutput)
    def post(self, request: Request, assignment_id: uuid.UUID) -> Response:
        given = checked(LeaseInput, request)
        seconds = services.extend_lease(cast(User, request.user), assignment_id, **given)
        return Response({"lease_seconds": seconds})
