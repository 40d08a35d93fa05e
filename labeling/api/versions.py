"""Guidelines and rubrics of a pool: the versions there are, and a new one."""

from __future__ import annotations

from typing import Any, cast

from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from labeling import selectors, services
from labeling.api.permissions import IsAdminOrReviewerReads
from labeling.api.shared import checked
from labeling.models import GuidelineVersion, RubricVersion, User


class VersionOutput(serializers.Serializer[Any]):
    version = serializers.IntegerField()
    author = serializers.CharField(allow_blank=True)
    created_at = serializers.DateTimeField()


class GuidelineVersionOutput(VersionOutput):
    text = serializers.CharField(allow_blank=True)


class RubricVersionOutput(VersionOutput):
    rubric = serializers.JSONField()


class RevisionInput(serializers.Serializer[Any]):
    """``based_on``: the version it was made from; refused when that is no longer the latest."""

    based_on = serializers.IntegerField(
        required=False, allow_null=True, default=None, min_value=0, max_value=2**31 - 1
    )


class GuidelinesInput(RevisionInput):
    text = serializers.CharField(allow_blank=True, trim_whitespace=False)


class RubricInput(RevisionInput):
    rubric = serializers.JSONField()


class GuidelinesView(APIView):
    """All versions of a pool's guidelines, the latest first; an admin adds one."""

    permission_classes = [IsAdminOrReviewerReads]

    @extend_schema(responses=GuidelineVersionOutput(many=True))
    def get(self, request: Request, pool_id: int) -> Response:
        versions = selectors.pool_of(pool_id).guideline_versions
        rows = versions.select_related("author").order_by("-number")
        return Response([_guidelines(row) for row in rows])

    @extend_schema(request=GuidelinesInput, responses={201: GuidelineVersionOutput})
    def post(self, request: Request, pool_id: int) -> Response:
        pool, given = selectors.pool_of(pool_id), checked(GuidelinesInput, request)
        version = services.revise_guidelines(pool, author=cast(User, request.user), **given)
        return Response(_guidelines(version), status=status.HTTP_201_CREATED)


class RubricView(APIView):
    """All versions of a pool's rubric, the latest first; an admin adds one."""

    permission_classes = [IsAdminOrReviewerReads]

    @extend_schema(responses=RubricVersionOutput(many=True))
    def get(self, request: Request, pool_id: int) -> Response:
        versions = selectors.pool_of(pool_id).rubric_versions
        rows = versions.select_related("author").order_by("-number")
        return Response([_rubric(row) for row in rows])

    @extend_schema(request=RubricInput, responses={201: RubricVersionOutput})
    def post(self, request: Request, pool_id: int) -> Response:
        pool, given = selectors.pool_of(pool_id), checked(RubricInput, request)
        version = services.revise_rubric(pool, author=cast(User, request.user), **given)
        return Response(_rubric(version), status=status.HTTP_201_CREATED)


def _guidelines(version: GuidelineVersion) -> dict[str, Any]:
    return {**_version(version), "text": version.text}


def _rubric(version: RubricVersion) -> dict[str, Any]:
    return {**_version(version), "rubric": version.rubric}


def _version(version: GuidelineVersion | RubricVersion) -> dict[str, Any]:
    author = version.author.username if version.author else ""
    return {"version": version.number, "author": author, "created_at": version.created_at}
