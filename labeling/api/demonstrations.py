"""What a labeler's page or program calls to write demonstrations."""

from __future__ import annotations

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


class WritingOutput(serializers.Serializer[Any]):
    """All that a labeler sees of a prompt to write for."""

    handle = serializers.UUIDField()
    pool = serializers.CharField()
    prompt = PromptOutput()
    warnings = serializers.ListField(
        child=serializers.CharField(),
        help_text="Sensitive topics of the prompt, to be told before its text is shown.",
    )
    guidelines = GuidelinesOutput()
    draft = serializers.CharField(allow_blank=True)


class HandleInput(serializers.Serializer[Any]):
    handle = serializers.UUIDField()


class WritingDraftInput(HandleInput):
    text = serializers.CharField(allow_blank=True, trim_whitespace=False)


class DemonstrationInput(HandleInput):
    """``submission_id``: made by the client, once. ``text`` is stored byte for byte."""

    submission_id = serializers.UUIDField()
    # Emptiness and length are checked by the service.
    text = serializers.CharField(allow_blank=True, trim_whitespace=False)


class DemonstrationOutput(serializers.Serializer[Any]):
    handle = serializers.UUIDField()
    characters = serializers.IntegerField()


class WritingSkipInput(HandleInput):
    reason = serializers.CharField(max_length=500)


class NextWritingView(APIView):
    """Hands the caller a prompt to write a demonstration for: the one in hand again, or the next.

    Every prompt of an open pool takes one from each labeler, the fewest demonstrations first.
    """

    permission_classes = [IsLabeler]

    @extend_schema(
        request=NextInput,
        responses={
            200: WritingOutput,
            204: OpenApiResponse(None, "There is none now; see Retry-After."),
        },
    )
    def post(self, request: Request) -> Response:
        writing = services.next_writing(cast(User, request.user), pool=asked_pool(request))
        if writing is None:
            wait = str(selectors.MAX_RETRY_SECONDS)
            return Response(status=status.HTTP_204_NO_CONTENT, headers={"Retry-After": wait})
        return Response(selectors.writing_payload(writing))


class DemonstrationView(APIView):
    """Stores the demonstration; the same submission again gets the same answer."""

    permission_classes = [IsLabeler]

    @extend_schema(request=DemonstrationInput, responses={201: DemonstrationOutput})
    def post(self, request: Request) -> Response:
        given = checked(DemonstrationInput, request)
        handle = given.pop("handle")
        services.submit_demonstration(cast(User, request.user), handle, **given)
        answer = {"handle": str(handle), "characters": len(given["text"])}
        return Response(answer, status=status.HTTP_201_CREATED)


class DemonstrationReviseView(APIView):
    """Puts another text in the place of one of the caller's last; what it said before is kept."""

    permission_classes = [IsLabeler]

    @extend_schema(request=DemonstrationInput, responses={200: DemonstrationOutput})
    def post(self, request: Request) -> Response:
        given = checked(DemonstrationInput, request)
        handle = given.pop("handle")
        services.revise_demonstration(cast(User, request.user), handle, **given)
        return Response({"handle": str(handle), "characters": len(given["text"])})


class WritingDraftView(APIView):
    """Keeps unfinished text; ``next`` gives it back."""

    permission_classes = [IsLabeler]

    @extend_schema(request=WritingDraftInput, responses={204: None})
    def post(self, request: Request) -> Response:
        services.save_writing_draft(cast(User, request.user), **checked(WritingDraftInput, request))
        return Response(status=status.HTTP_204_NO_CONTENT)


class WritingSkipView(APIView):
    """Gives the prompt back, with the reason."""

    permission_classes = [IsLabeler]

    @extend_schema(request=WritingSkipInput, responses={204: None})
    def post(self, request: Request) -> Response:
        services.skip_writing(cast(User, request.user), **checked(WritingSkipInput, request))
        return Response(status=status.HTTP_204_NO_CONTENT)
