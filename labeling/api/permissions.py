"""Who may call what: every view names one of these."""

from __future__ import annotations

from typing import cast
from urllib.parse import unquote

from rest_framework.exceptions import NotAuthenticated
from rest_framework.permissions import SAFE_METHODS, IsAuthenticated
from rest_framework.request import Request
from rest_framework.views import APIView

from labeling.models import User


class IsLabeler(IsAuthenticated):
    """Anyone with an account: reviewers and admins rank too.

    A page says in ``X-Labeler`` whose it is. What waited in it while somebody else signed in at
    the same browser must be told apart from work that is not there: it is kept, and sent again.
    """

    def has_permission(self, request: Request, view: APIView) -> bool:
        if not super().has_permission(request, view):
            return False
        whose = request.headers.get("X-Labeler")
        if whose is not None and unquote(whose) != cast(User, request.user).username:
            raise NotAuthenticated
        return True


class IsReviewer(IsAuthenticated):
    """Reviewers and admins."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        return super().has_permission(request, view) and cast(User, request.user).is_reviewer


class IsAdmin(IsAuthenticated):
    def has_permission(self, request: Request, view: APIView) -> bool:
        return super().has_permission(request, view) and cast(User, request.user).is_admin


class IsAdminOrReviewerReads(IsAuthenticated):
    """Admins change, reviewers look."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        if not super().has_permission(request, view):
            return False
        user = cast(User, request.user)
        return user.is_admin or (request.method in SAFE_METHODS and user.is_reviewer)
