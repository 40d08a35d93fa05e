"""Bearer tokens for programs; people use the session cookie."""

from __future__ import annotations

from datetime import timedelta

from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from labeling.models import ApiToken, User
from labeling.services import token_digest

# A token's last use is noted at most this often: not a write with every request.
LAST_USED_SECONDS = 300


class BearerAuthentication(BaseAuthentication):
    """``Authorization: Bearer <token>``; the token is looked up by its hash."""

    def authenticate(self, request: Request) -> tuple[User, ApiToken] | None:
        parts = get_authorization_header(request).split()
        if not parts or parts[0].lower() != b"bearer":
            return None
        if len(parts) != 2:
            raise AuthenticationFailed("The Authorization header must read: Bearer <token>.")
        digest = token_digest(parts[1].decode("latin-1"))
        token = (
            ApiToken.objects.select_related("user")
            .filter(digest=digest, revoked_at=None, user__is_active=True)
            .first()
        )
        if token is None:
            raise AuthenticationFailed("The token is unknown or was revoked.")
        _note_use(token)
        return token.user, token

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


def _note_use(token: ApiToken) -> None:
    stale = timezone.now() - timedelta(seconds=LAST_USED_SECONDS)
    if token.last_used_at is None or token.last_used_at < stale:
        due = Q(last_used_at=None) | Q(last_used_at__lt=stale)
        ApiToken.objects.filter(due, pk=token.pk).update(last_used_at=Now())


class BearerScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """How the schema names the token."""

    target_class = BearerAuthentication
    name = "bearer"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer"}
