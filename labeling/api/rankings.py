"""Around a labeler's tasks: the one held ahead, flags on prompts, and changing what was ranked."""

from __future__ import annotations

import uuid
from typing import Any, cast

from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from labeling import selectors, services
from labeling.api.assignments import AnswersInput, LeaseInput, SubmitOutput, TaskOutput
from labeling.api.permissions import IsLabeler
from labeling.api.shared import checked
from labeling.models import PromptFlag, User


class FlagInput(serializers.Serializer[Any]):
    reason = serializers.ChoiceField(PromptFlag.Reason.choices)
    detail = serializers.CharField(
        required=False, allow_blank=True, default="", max_length=services.MAX_FLAG_DETAIL
    )


class OwnRankingOutput(serializers.Serializer[Any]):
    """``seconds_left``: for how long it may still be changed."""

    ranking = serializers.IntegerField()
    pool = serializers.CharField()
    prompt = serializers.CharField()
    status = serializers.ChoiceField(["counted", "late"])
    submitted_at = serializers.DateTimeField()
    revised_at = serializers.DateTimeField(allow_null=True)
    seconds_left = serializers.IntegerField()


class AheadView(APIView):
    """Leases the task after this one, before its turn, or extends that lease: at most one."""

    permission_classes = [IsLabeler]

    @extend_schema(
        request=None,
        responses={200: TaskOutput, 204: OpenApiResponse(None, "None is free now.")},
    )
    def post(self, request: Request, assignment_id: uuid.UUID) -> Response:
        ahead = services.lease_ahead(cast(User, request.user), assignment_id)
        if ahead is None:
            return Response(status=status.HTTP_204_NO_CONTENT)
        return Response(selectors.task_payload(ahead))


class ReleaseView(APIView):
    """Gives back a task that was held ahead and never shown; any other stays as it is."""

    permission_classes = [IsLabeler]

    @extend_schema(request=LeaseInput, responses={204: None})
    def post(self, request: Request, assignment_id: uuid.UUID) -> Response:
        services.release_ahead(
            cast(User, request.user), assignment_id, **checked(LeaseInput, request)
        )
        return Response(status=status.HTTP_204_NO_CONTENT)


class FlagView(APIView):
    """Notes what is wrong with the prompt itself; the task stays with the caller."""

    permission_classes = [IsLabeler]

    @extend_schema(request=FlagInput, responses={204: None})
    def post(self, request: Request, assignment_id: uuid.UUID) -> Response:
        given = checked(FlagInput, request)
        services.flag_prompt(cast(User, request.user), assignment_id, **given)
        return Response(status=status.HTTP_204_NO_CONTENT)


class RankingListView(APIView):
    """The caller's own latest rankings, newest first."""

    permission_classes = [IsLabeler]

    @extend_schema(responses=OwnRankingOutput(many=True))
    def get(self, request: Request) -> Response:
        rankings = selectors.recent_rankings(cast(User, request.user))
        return Response(OwnRankingOutput(rankings, many=True).data)


class ReviseView(APIView):
    """Puts another ranking in the place of one's own, while the pool allows it."""

    permission_classes = [IsLabeler]

    @extend_schema(request=AnswersInput, responses={200: SubmitOutput})
    def post(self, request: Request, ranking_id: int) -> Response:
        given = checked(AnswersInput, request)
        given["note"] = given["note"] or ""
        revised = services.revise_ranking(cast(User, request.user), ranking_id, **given)
        return Response(revised._asdict())
