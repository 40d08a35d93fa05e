"""The model registry: lineage and promotion."""

from __future__ import annotations

from typing import Any, cast

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from labeling.api.permissions import IsAdmin, IsReviewer
from labeling.models import User
from training import selectors, services
from training.models import ModelVersion


class ModelOutput(serializers.Serializer[Any]):
    """``lineage`` lists the ids from the first ancestor to the model itself."""

    id = serializers.IntegerField()
    name = serializers.CharField()
    kind = serializers.ChoiceField(ModelVersion.Kind.choices)
    parent = serializers.IntegerField(allow_null=True)
    lineage = serializers.ListField(child=serializers.IntegerField())
    reward_model = serializers.IntegerField(allow_null=True)
    run = serializers.IntegerField(allow_null=True)
    snapshot = serializers.CharField(allow_null=True)
    round = serializers.IntegerField()
    promoted = serializers.BooleanField()
    metrics = serializers.DictField()
    digest = serializers.CharField(allow_blank=True)
    reference = serializers.CharField(allow_blank=True)
    created_at = serializers.DateTimeField()


class PromotionOutput(serializers.Serializer[Any]):
    model = serializers.IntegerField()
    round = serializers.IntegerField()


def model_output(model: ModelVersion, lineage: list[int], promoted: int | None) -> dict[str, Any]:
    run = getattr(model, "made_by", None)
    return {
        "id": model.pk,
        "name": model.name,
        "kind": model.kind,
        "parent": model.parent_id,
        "lineage": lineage,
        "reward_model": model.reward_model_id,
        "run": run.pk if run else None,
        "snapshot": run.snapshot.digest if run and run.snapshot else None,
        "round": model.round_id,
        "promoted": model.pk == promoted,
        "metrics": model.metrics,
        "digest": model.digest,
        "reference": model.reference,
        "created_at": model.created_at,
    }


class ModelListView(APIView):
    """All models, the oldest first."""

    permission_classes = [IsReviewer]

    @extend_schema(responses=ModelOutput(many=True))
    def get(self, request: Request) -> Response:
        current = selectors.current_promotion()
        models = ModelVersion.objects.select_related("made_by__snapshot")
        promoted = current.model_id if current else None
        lineages = selectors.lineages()
        return Response([model_output(m, lineages[m.pk], promoted) for m in models])


class ModelPromoteView(APIView):
    """Makes the policy the sampler of a new round."""

    permission_classes = [IsAdmin]

    @extend_schema(request=None, responses=PromotionOutput)
    def post(self, request: Request, model_id: int) -> Response:
        model = selectors.model_of(model_id)
        promotion = services.promote_model(cast(User, request.user), model)
        return Response({"model": model.pk, "round": promotion.round_id})
