"""Pools: settings and progress, import and export."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from django.http import HttpRequest, StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers, status
from rest_framework.exceptions import UnsupportedMediaType
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from labeling import selectors, services
from labeling.api import exports
from labeling.api.parsers import JSONLinesParser
from labeling.api.permissions import IsAdmin, IsAdminOrReviewerReads, IsReviewer
from labeling.errors import InvalidInput
from labeling.execution import read_lines
from labeling.models import Pool, User


class PoolInput(serializers.ModelSerializer[Pool]):
    """The settings of a pool; ``model`` names the sampler, empty for the promoted policy."""

    guidelines = serializers.CharField(
        required=False, allow_blank=True, default="", trim_whitespace=False
    )
    model = serializers.CharField(
        required=False, allow_blank=True, allow_null=True, default="", source="sampler"
    )
    # The service refuses a name in use, as 409.
    name = serializers.CharField(max_length=200)

    class Meta:
        model = Pool
        fields = (
            "name",
            "completions_per_prompt",
            "overlap",
            "temperature",
            "top_p",
            "max_new_tokens",
            "guidelines",
            "model",
            "lease_seconds",
            "edit_minutes",
            "takes_demonstrations",
            "takes_prompts",
        )

    def validate_model(self, value: str | None) -> str:
        return value or ""


class Progress(serializers.Serializer[dict[str, int]]):
    prompts = serializers.IntegerField()
    tasks = serializers.IntegerField()
    open = serializers.IntegerField()
    leased = serializers.IntegerField()
    done = serializers.IntegerField()
    rankings = serializers.IntegerField()
    comparisons = serializers.IntegerField()
    late = serializers.IntegerField()


class PoolOutput(Progress):
    """A pool with its progress counts."""

    id = serializers.IntegerField()
    name = serializers.CharField()
    completions_per_prompt = serializers.IntegerField()
    overlap = serializers.IntegerField()
    temperature = serializers.FloatField()
    top_p = serializers.FloatField()
    max_new_tokens = serializers.IntegerField()
    lease_seconds = serializers.IntegerField()
    edit_minutes = serializers.IntegerField()
    model = serializers.CharField()
    guidelines = serializers.CharField()
    guidelines_version = serializers.IntegerField()
    rubric = serializers.JSONField()
    rubric_version = serializers.IntegerField()
    qualification_threshold = serializers.FloatField()
    qualification_attempts = serializers.IntegerField()
    qualification_test_size = serializers.IntegerField()
    control_share = serializers.FloatField()
    control_threshold = serializers.FloatField()
    control_pauses = serializers.BooleanField()
    is_open = serializers.BooleanField()
    takes_demonstrations = serializers.BooleanField()
    takes_prompts = serializers.BooleanField()


class LineErrorOutput(serializers.Serializer[dict[str, Any]]):
    line = serializers.IntegerField()
    code = serializers.CharField()
    message = serializers.CharField()


class ImportOutput(serializers.Serializer[dict[str, Any]]):
    accepted = serializers.IntegerField()
    duplicates = serializers.IntegerField()
    rejected = serializers.IntegerField()
    errors = LineErrorOutput(many=True)


def report_output(report: services.ImportReport) -> dict[str, Any]:
    return {
        "accepted": report.accepted,
        "duplicates": report.duplicates,
        "rejected": report.rejected,
        "errors": report.errors,
    }


def pool_output(pool: Pool, progress: dict[str, int]) -> dict[str, Any]:
    guidelines = pool.guideline_versions.order_by("-number").first()
    return {
        "id": pool.pk,
        "name": pool.name,
        "completions_per_prompt": pool.completions_per_prompt,
        "overlap": pool.overlap,
        "temperature": pool.temperature,
        "top_p": pool.top_p,
        "max_new_tokens": pool.max_new_tokens,
        "lease_seconds": pool.lease_seconds,
        "edit_minutes": pool.edit_minutes,
        "model": pool.sampler,
        "guidelines": guidelines.text if guidelines else "",
        "guidelines_version": guidelines.number if guidelines else 0,
        "rubric": pool.rubric,
        "rubric_version": selectors.rubric_number(pool),
        "qualification_threshold": pool.qualification_threshold,
        "qualification_attempts": pool.qualification_attempts,
        "qualification_test_size": pool.qualification_test_size,
        "control_share": pool.control_share,
        "control_threshold": pool.control_threshold,
        "control_pauses": pool.control_pauses,
        "is_open": pool.is_open,
        "takes_demonstrations": pool.takes_demonstrations,
        "takes_prompts": pool.takes_prompts,
        **progress,
    }


class PoolListView(APIView):
    """All pools; an admin adds one."""

    permission_classes = [IsAdminOrReviewerReads]

    @extend_schema(responses=PoolOutput(many=True))
    def get(self, request: Request) -> Response:
        return Response([pool_output(*entry) for entry in selectors.pools_for(_caller(request))])

    @extend_schema(request=PoolInput, responses={201: PoolOutput})
    def post(self, request: Request) -> Response:
        given = PoolInput(data=request.data)
        given.is_valid(raise_exception=True)
        pool = services.create_pool(author=_caller(request), **given.validated_data)
        output = pool_output(pool, selectors.pool_progress(pool))
        return Response(output, status=status.HTTP_201_CREATED)


class PoolDetailView(APIView):
    """Settings and progress counts of one pool."""

    permission_classes = [IsReviewer]

    @extend_schema(responses=PoolOutput)
    def get(self, request: Request, pool_id: int) -> Response:
        pool = selectors.pool_of(pool_id)
        return Response(pool_output(pool, selectors.pool_progress(pool)))


class PoolImportView(APIView):
    """Prompts from a JSON Lines body, with or without completions."""

    permission_classes = [IsAdmin]
    parser_classes: list[type[BaseParser]] = [JSONLinesParser]

    def initialize_request(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Request:
        # curl calls the content of a file a form; the CSRF check would read our lines as one.
        if request.content_type == "application/x-www-form-urlencoded":
            request.META["CONTENT_TYPE"] = "application/x-ndjson"
        return super().initialize_request(request, *args, **kwargs)

    @extend_schema(
        request={"application/x-ndjson": OpenApiTypes.STR},
        responses=ImportOutput,
    )
    def post(self, request: Request, pool_id: int) -> Response:
        pool = selectors.pool_of(pool_id)
        report = services.import_prompts(pool, request_lines(request))
        return Response(report_output(report))


class PoolExportView(APIView):
    """Everything collected, streamed."""

    permission_classes = [IsReviewer]

    def perform_content_negotiation(self, request: Request, force: bool = False) -> Any:
        # ?format= chooses; an Accept header that names the format is not to be refused.
        return super().perform_content_negotiation(request, force=True)

    @extend_schema(
        parameters=[
            OpenApiParameter("kind", enum=list(exports.ROWS_OF_KIND), default="comparisons"),
            OpenApiParameter("format", enum=list(exports.WRITERS), default="jsonl"),
            OpenApiParameter("labelers", enum=list(exports.LABELERS), default="all"),
        ],
        responses={
            (200, media_type): OpenApiResponse(OpenApiTypes.BINARY)
            for media_type in exports.MEDIA_TYPES
        },
    )
    def get(self, request: Request, pool_id: int) -> StreamingHttpResponse:
        pool = selectors.pool_of(pool_id)
        kind = choice(request, "kind", exports.ROWS_OF_KIND, "comparisons")
        format_ = choice(request, "format", exports.WRITERS, "jsonl")
        labelers = choice(request, "labelers", exports.LABELERS, "all")
        return exports.stream(pool, kind=kind, format_=format_, labelers=labelers)


def request_lines(request: Request) -> Iterator[bytes]:
    """The body's lines; one that comes in chunks is read from the server's own stream."""
    if request.content_type.startswith("multipart/"):
        raise UnsupportedMediaType(request.content_type, "Send the file itself, not a form.")
    if "Transfer-Encoding" in request.headers and request.META.get("wsgi.input_terminated"):
        return read_lines(request.META["wsgi.input"])
    return cast(Iterator[bytes], request.data) if request.stream else iter(())


def _caller(request: Request) -> User:
    return cast(User, request.user)


def choice(request: Request, name: str, choices: Any, default: str) -> str:
    value = request.query_params.get(name, default)
    if value not in choices:
        raise InvalidInput(f"{name} must be one of {', '.join(choices)}", field=name)
    return value
