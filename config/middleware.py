"""What stands between the server and every view."""

from __future__ import annotations

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.middleware.common import CommonMiddleware
from django.urls import reverse

from config.error_pages import API, api_error, bad_request

Handler = Callable[[HttpRequest], HttpResponse]
IMPORT_SUFFIX = "/import/"


class SlashMiddleware(CommonMiddleware):
    """Django's, but never redirecting a program: a client would repeat its POST as a GET."""

    def should_redirect_with_slash(self, request: HttpRequest) -> bool:
        return not request.path.startswith(API) and super().should_redirect_with_slash(request)


def readable_requests(get_response: Handler) -> Handler:
    """Refuse what would be read wrongly: a NUL in a query, a body of unknown length or encoding.

    Django takes a body without a length for an empty one; only the import reads such a stream.
    """

    def middleware(request: HttpRequest) -> HttpResponse:
        if "%00" in request.META.get("QUERY_STRING", ""):
            return bad_request(request, ValueError("NUL in the query"))
        if request.path.startswith(API):
            if request.headers.get("Content-Encoding", "identity") != "identity":
                return api_error("unsupported_encoding", "Send the body uncompressed.", 415)
            chunked = "Transfer-Encoding" in request.headers
            if chunked and not request.path.endswith(IMPORT_SUFFIX):
                return api_error("length_required", "Send a Content-Length.", 411)
        return get_response(request)

    return middleware


def admin_content_security_policy(get_response: Handler) -> Handler:
    """Loosen the policy for the admin alone, which Unfold builds with Alpine.js."""

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        if request.path.startswith(reverse("admin:index")):
            response._csp_update = settings.ADMIN_CONTENT_SECURITY_POLICY  # type: ignore[attr-defined]
        return response

    return middleware
