"""What the addresses of labelers have in common: the pool asked for, prompts, guidelines."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers
from rest_framework.request import Request

from labeling import selectors
from labeling.errors import PoolClosed
from labeling.models import Pool


class NextInput(serializers.Serializer[Any]):
    pool = serializers.CharField(max_length=200, required=False, allow_null=True, default=None)


class MessageOutput(serializers.Serializer[Any]):
    role = serializers.CharField()
    content = serializers.CharField()


class PromptOutput(serializers.Serializer[Any]):
    messages = MessageOutput(many=True)


class GuidelinesOutput(serializers.Serializer[Any]):
    version = serializers.IntegerField()
    text = serializers.CharField(allow_blank=True)


def checked(input_: type[serializers.Serializer[Any]], request: Request) -> dict[str, Any]:
    given = input_(data=request.data)
    given.is_valid(raise_exception=True)
    return dict(given.validated_data)


def asked_pool(request: Request) -> Pool | None:
    """The pool of a ``NextInput``. Raises NotFound, PoolClosed."""
    name_or_id = checked(NextInput, request)["pool"]
    if name_or_id is None:
        return None
    pool = selectors.pool_named(name_or_id)
    if not pool.is_open:
        raise PoolClosed
    return pool
