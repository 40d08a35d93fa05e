"""The way into a pool for programs: where the caller stands, the next item, its ranking."""

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
from labeling.api.assignments import CompletionOutput
from labeling.api.permissions import IsAdmin, IsLabeler
from labeling.api.pools import (
    ImportOutput,
    PoolImportView,
    choice,
    report_output,
    request_lines,
)
from labeling.api.shared import PromptOutput, checked
from labeling.models import QualificationItem, Trial, User


class StandingOutput(serializers.Serializer[Any]):
    """``state`` is training, testing, passed, failed, granted, paused or revoked."""

    state = serializers.CharField()
    is_let_in = serializers.BooleanField()
    training = serializers.IntegerField()
    training_done = serializers.IntegerField()
    tests = serializers.IntegerField()
    tests_done = serializers.IntegerField()
    attempts_left = serializers.IntegerField()
    score = serializers.FloatField(allow_null=True)
    threshold = serializers.FloatField()
    note = serializers.CharField(allow_blank=True)


class TrialOutput(serializers.Serializer[Any]):
    """All that a labeler sees of an item before it is ranked."""

    trial = serializers.UUIDField()
    pool = serializers.CharField()
    kind = serializers.ChoiceField(QualificationItem.Kind.choices)
    prompt = PromptOutput()
    completions = CompletionOutput(many=True)


class TrialInput(serializers.Serializer[Any]):
    submission_id = serializers.UUIDField()
    # Contents are checked by the service, which names the aliases at fault.
    ranks = serializers.DictField()


class FeedbackOutput(serializers.Serializer[Any]):
    right = serializers.IntegerField()
    wrong = serializers.IntegerField()
    tied = serializers.IntegerField()
    agreement = serializers.FloatField()
    tau_b = serializers.FloatField(allow_null=True)
    expected = serializers.DictField(child=serializers.IntegerField())
    explanation = serializers.CharField(allow_blank=True)


class SubmittedTrialOutput(serializers.Serializer[Any]):
    """``feedback`` in training; a test tells its score when its last item is in."""

    standing = StandingOutput()
    feedback = FeedbackOutput(allow_null=True)


class StandingView(APIView):
    """Where the caller stands in a pool."""

    permission_classes = [IsLabeler]

    @extend_schema(responses=StandingOutput)
    def get(self, request: Request, pool_id: int) -> Response:
        pool = selectors.pool_of(pool_id)
        return Response(selectors.qualification_progress(_caller(request), pool)._asdict())


class NextTrialView(APIView):
    """The item in hand, or the next of the training or of the test that was begun."""

    permission_classes = [IsLabeler]

    @extend_schema(
        request=None,
        responses={200: TrialOutput, 204: OpenApiResponse(None, "None is left; see the standing.")},
    )
    def post(self, request: Request, pool_id: int) -> Response:
        trial = services.next_trial(_caller(request), selectors.pool_of(pool_id))
        if trial is None:
            return Response(status=status.HTTP_204_NO_CONTENT)
        return Response(selectors.trial_payload(trial))


class BeginTestView(APIView):
    """Begins an attempt at the test; one that is under way is gone on with."""

    permission_classes = [IsLabeler]

    @extend_schema(request=None, responses=StandingOutput)
    def post(self, request: Request, pool_id: int) -> Response:
        pool = selectors.pool_of(pool_id)
        services.begin_test(_caller(request), pool)
        return Response(selectors.qualification_progress(_caller(request), pool)._asdict())


class SubmitTrialView(APIView):
    """Stores the ranking of an item; the last one of a test passes or fails it."""

    permission_classes = [IsLabeler]

    @extend_schema(request=TrialInput, responses={201: SubmittedTrialOutput})
    def post(self, request: Request, trial_id: uuid.UUID) -> Response:
        caller = _caller(request)
        trial = services.submit_trial(caller, trial_id, **checked(TrialInput, request))
        standing = selectors.qualification_progress(caller, trial.qualification.pool)
        body = {"standing": standing._asdict(), "feedback": _feedback(trial)}
        return Response(body, status=status.HTTP_201_CREATED)


class ItemImportView(PoolImportView):
    """Items from a JSON Lines body: prompt, completions with their ranks, explanation."""

    permission_classes = [IsAdmin]

    @extend_schema(
        parameters=[OpenApiParameter("kind", enum=QualificationItem.Kind.values, required=True)],
        request={"application/x-ndjson": OpenApiTypes.STR},
        responses=ImportOutput,
    )
    def post(self, request: Request, pool_id: int) -> Response:
        pool = selectors.pool_of(pool_id)
        kind = choice(request, "kind", QualificationItem.Kind.values, "")
        report = services.import_items(
            pool, request_lines(request), kind=kind, author=_caller(request)
        )
        return Response(report_output(report))


def _feedback(trial: Trial) -> dict[str, Any] | None:
    if trial.item.kind != QualificationItem.Kind.TRAINING:
        return None
    feedback = selectors.feedback_on(trial)
    mark = feedback.mark
    return {
        "right": mark.right,
        "wrong": mark.wrong,
        "tied": mark.tied,
        "agreement": mark.agreement,
        "tau_b": mark.tau_b,
        "expected": {answer.alias: answer.expected for answer in feedback.answers},
        "explanation": feedback.explanation,
    }


def _caller(request: Request) -> User:
    return cast(User, request.user)
