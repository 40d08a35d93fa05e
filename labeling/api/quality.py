"""Quality figures, disagreements and adjudications for reviewers; own statistics for labelers."""

from __future__ import annotations

from typing import Any, cast

from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from labeling import selectors, services
from labeling.api.permissions import IsLabeler, IsReviewer
from labeling.api.shared import checked
from labeling.models import QualityFigure, User
from labeling.selectors import Case


class FigureOutput(serializers.Serializer[Any]):
    """``value`` is null where fewer tasks than needed could tell it."""

    population = serializers.ChoiceField(QualityFigure.Population.choices)
    labeler = serializers.CharField(allow_null=True)
    guideline_version = serializers.IntegerField(allow_null=True)
    name = serializers.ChoiceField(QualityFigure.Name.choices)
    value = serializers.FloatField(allow_null=True)
    low = serializers.FloatField(allow_null=True)
    high = serializers.FloatField(allow_null=True)
    tasks = serializers.IntegerField()
    count = serializers.IntegerField()


class QualityOutput(serializers.Serializer[Any]):
    """``computed_at`` is null while no worker has computed any; ``pending``: some are asked for."""

    computed_at = serializers.DateTimeField(allow_null=True)
    pending = serializers.BooleanField()
    rankings = serializers.IntegerField()
    used_rankings = serializers.IntegerField()
    figures = FigureOutput(many=True)


class QualityView(APIView):
    """Agreement, reliability and bias in a pool, with intervals."""

    permission_classes = [IsReviewer]

    @extend_schema(responses={200: QualityOutput})
    def get(self, request: Request, pool_id: int) -> Response:
        report = selectors.quality_of(selectors.pool_of(pool_id))
        if report is None:
            empty = {"computed_at": None, "pending": False, "rankings": 0, "used_rankings": 0}
            return Response({**empty, "figures": []})
        rows = report.figures.select_related("labeler", "guideline_version")
        return Response(
            {
                "computed_at": report.computed_at,
                "pending": report.requested_at is not None,
                "rankings": report.rankings,
                "used_rankings": report.used_rankings,
                "figures": [_figure(row) for row in rows],
            }
        )

    @extend_schema(request=None, responses={202: None})
    def post(self, request: Request, pool_id: int) -> Response:
        """Asks a worker to compute them anew."""
        services.request_quality(selectors.pool_of(pool_id))
        return Response({"pending": True}, status=status.HTTP_202_ACCEPTED)


def _figure(row: QualityFigure) -> dict[str, Any]:
    version = row.guideline_version
    return {
        "population": row.population,
        "labeler": row.labeler.username if row.labeler else None,
        "guideline_version": version.number if version else None,
        "name": row.name,
        "value": row.value,
        "low": row.low,
        "high": row.high,
        "tasks": row.tasks,
        "count": row.count,
    }


class DisagreementOutput(serializers.Serializer[Any]):
    task = serializers.IntegerField()
    labelers = serializers.IntegerField()
    agreement = serializers.FloatField()


class DisagreementsView(APIView):
    """Tasks that several labelers ranked differently and nobody decided, the worst first."""

    permission_classes = [IsReviewer]

    @extend_schema(responses={200: DisagreementOutput(many=True)})
    def get(self, request: Request, pool_id: int) -> Response:
        found = selectors.disagreements(selectors.pool_of(pool_id))
        return Response(
            [
                {"task": one.task.pk, "labelers": one.labelers, "agreement": one.agreement}
                for one in found
            ]
        )


class AdjudicationInput(serializers.Serializer[Any]):
    ranks = serializers.DictField(help_text="By alias, 1 is best, equal numbers tie.")
    reason = serializers.CharField(max_length=services.MAX_ADJUDICATION_REASON)


class CaseOutput(serializers.Serializer[Any]):
    """``labelers``: each one's ranks by alias, named by a number until the task is decided."""

    task = serializers.IntegerField()
    prompt = serializers.DictField()
    warnings = serializers.ListField(child=serializers.CharField())
    completions = serializers.ListField(child=serializers.DictField())
    labelers = serializers.ListField(child=serializers.DictField())
    adjudication = serializers.DictField(allow_null=True)


class AdjudicationView(APIView):
    """A task side by side, and the decision on it."""

    permission_classes = [IsReviewer]

    @extend_schema(responses={200: CaseOutput})
    def get(self, request: Request, task_id: int) -> Response:
        return Response(_case(selectors.case_of(task_id)))

    @extend_schema(request=AdjudicationInput, responses={201: CaseOutput})
    def post(self, request: Request, task_id: int) -> Response:
        given = checked(AdjudicationInput, request)
        services.adjudicate(cast(User, request.user), task_id, **given)
        return Response(_case(selectors.case_of(task_id)), status=status.HTTP_201_CREATED)


def _case(case: Case) -> dict[str, Any]:
    decision = case.adjudication
    return {
        "task": case.task.pk,
        "prompt": {"messages": case.task.prompt.messages},
        "warnings": selectors.warnings_of(case.task.prompt),
        "completions": [{"alias": alias, "text": one.text} for alias, one in case.completions],
        "labelers": [
            {
                "name": voice.name,
                "ranks": {alias: voice.items[one.pk].rank for alias, one in case.completions},
                "note": voice.note,
            }
            for voice in case.voices
        ],
        "adjudication": decision
        and {
            "reviewer": decision.reviewer.username,
            "reason": decision.reason,
            "created_at": decision.created_at,
            "ranks": {alias: case.decided[one.pk] for alias, one in case.completions},
        },
    }


class TallyOutput(serializers.Serializer[Any]):
    today = serializers.IntegerField()
    week = serializers.IntegerField()
    ever = serializers.IntegerField()


class StatisticsOutput(serializers.Serializer[Any]):
    """Percentages are rounded to five, and null where too little was shared."""

    rankings = TallyOutput()
    demonstrations = TallyOutput()
    counted = serializers.IntegerField()
    late = serializers.IntegerField()
    minutes_per_task = serializers.FloatField(allow_null=True)
    agreement_percent = serializers.IntegerField(allow_null=True)
    adjudicated_percent = serializers.IntegerField(allow_null=True)


class StatisticsView(APIView):
    """The caller's own work. Nobody is ranked against anybody."""

    permission_classes = [IsLabeler]

    @extend_schema(responses={200: StatisticsOutput})
    def get(self, request: Request) -> Response:
        own = selectors.statistics_of(cast(User, request.user))
        return Response(
            {
                "rankings": own.rankings._asdict(),
                "demonstrations": own.demonstrations._asdict(),
                "counted": own.counted,
                "late": own.late,
                "minutes_per_task": own.pace,
                "agreement_percent": own.agreement,
                "adjudicated_percent": own.adjudicated,
            }
        )
