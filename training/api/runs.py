"""Runs: start, watch, cancel."""

from __future__ import annotations

from typing import Any, cast

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from labeling.api.permissions import IsAdmin, IsAdminOrReviewerReads, IsReviewer
from labeling.errors import InvalidInput
from labeling.models import User
from labeling.selectors import pool_named, pool_of
from training import selectors, services
from training.errors import RunAlreadyThere
from training.models import Run

MAX_EVENTS = 1000


class RunInput(serializers.Serializer[Any]):
    """``pool``, ``model`` and ``reward_model`` are ids or names."""

    kind = serializers.CharField()
    pool = serializers.CharField(max_length=200, required=False, allow_null=True, default=None)
    model = serializers.CharField(max_length=200, required=False, allow_null=True, default=None)
    reward_model = serializers.CharField(
        max_length=200, required=False, allow_null=True, default=None
    )
    params = serializers.DictField(required=False, default=dict)
    labelers = serializers.ChoiceField(
        Run.Labelers.values,
        required=False,
        default=Run.Labelers.PEOPLE.value,
        help_text="Whose rankings and demonstrations train.",
    )
    seed = serializers.IntegerField(required=False, default=0, min_value=0, max_value=2**62)


class RunOutput(serializers.Serializer[Any]):
    """``model`` is the model that the run made, ``from_model`` the one it started from."""

    id = serializers.IntegerField()
    kind = serializers.CharField()
    state = serializers.ChoiceField(Run.State.choices)
    phase = serializers.CharField(allow_blank=True)
    progress = serializers.FloatField()
    metrics = serializers.DictField()
    error = serializers.CharField(allow_blank=True)
    model = serializers.IntegerField(allow_null=True)
    from_model = serializers.IntegerField()
    reward_model = serializers.IntegerField(allow_null=True)
    pool = serializers.IntegerField(allow_null=True)
    round = serializers.IntegerField()
    labelers = serializers.CharField()
    params = serializers.DictField()
    seed = serializers.IntegerField()
    attempt = serializers.IntegerField()
    created_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)


class EventOutput(serializers.Serializer[Any]):
    number = serializers.IntegerField()
    phase = serializers.CharField()
    step = serializers.IntegerField()
    total = serializers.IntegerField()
    metrics = serializers.DictField()
    happened_at = serializers.DateTimeField()


class EventsOutput(serializers.Serializer[Any]):
    """``last`` is the number to ask for events after."""

    events = EventOutput(many=True)
    last = serializers.IntegerField()


class StartedOutput(serializers.Serializer[Any]):
    run = serializers.IntegerField()


def run_output(run: Run) -> dict[str, Any]:
    same = (
        "kind state phase progress metrics error labelers params seed attempt"
        " created_at started_at finished_at"
    )
    return {
        "id": run.pk,
        **{name: getattr(run, name) for name in same.split()},
        "model": run.made_id,
        "from_model": run.model_id,
        "reward_model": run.reward_model_id,
        "pool": run.pool_id,
        "round": run.round_id,
    }


class RunListView(APIView):
    """All runs, the newest first; an admin starts one."""

    permission_classes = [IsAdminOrReviewerReads]

    @extend_schema(responses=RunOutput(many=True))
    def get(self, request: Request) -> Response:
        return Response([run_output(run) for run in Run.objects.all()[:200]])

    @extend_schema(request=RunInput, responses={201: RunOutput})
    def post(self, request: Request) -> Response:
        given = RunInput(data=request.data)
        given.is_valid(raise_exception=True)
        asked = dict(given.validated_data)
        asked["pool"] = pool_named(asked["pool"]) if asked["pool"] else None
        run = services.start_run(cast(User, request.user), **asked)
        return Response(run_output(run), status=status.HTTP_201_CREATED)


class RunDetailView(APIView):
    """State, progress, latest metrics, error, and the model made."""

    permission_classes = [IsReviewer]

    @extend_schema(responses=RunOutput)
    def get(self, request: Request, run_id: int) -> Response:
        return Response(run_output(selectors.run_of(run_id)))


class RunEventsView(APIView):
    """The trainer's events, at most a thousand a call."""

    permission_classes = [IsReviewer]

    @extend_schema(
        parameters=[OpenApiParameter("after", int, description="Number of the last event known.")],
        responses=EventsOutput,
    )
    def get(self, request: Request, run_id: int) -> Response:
        after = request.query_params.get("after", "-1")
        if not after.removeprefix("-").isdecimal():
            raise InvalidInput("after must be a whole number", field="after")
        events = list(selectors.run_of(run_id).events.filter(number__gt=int(after))[:MAX_EVENTS])
        last = events[-1].number if events else int(after)
        return Response({"events": EventOutput(events, many=True).data, "last": last})


class RunCancelView(APIView):
    """Ends a queued run at once; asks a running one to stop."""

    permission_classes = [IsAdmin]

    @extend_schema(request=None, responses={202: RunOutput})
    def post(self, request: Request, run_id: int) -> Response:
        run = selectors.run_of(run_id)
        services.cancel_run(run)
        return Response(run_output(selectors.run_of(run_id)), status=status.HTTP_202_ACCEPTED)


class PoolSampleView(APIView):
    """Samples K completions for each prompt that lacks them in the current round."""

    permission_classes = [IsAdmin]

    @extend_schema(request=None, responses={202: StartedOutput})
    def post(self, request: Request, pool_id: int) -> Response:
        pool = pool_of(pool_id)
        try:
            run = services.start_run(cast(User, request.user), kind=Run.Kind.SAMPLE, pool=pool)
            number = run.pk
        except RunAlreadyThere as error:
            # A second click: the run that it asks for is under way.
            if "run" not in error.data:
                raise
            number = error.data["run"]
        return Response({"run": number}, status=status.HTTP_202_ACCEPTED)
