"""What stands between the server and every view."""

from __future__ import annotations

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.middleware.common import CommonMiddleware
from django.middleware.locale import LocaleMiddleware
from django.urls import reverse
from django.utils import translation
from django.utils.translation import get_language_from_request

from config.error_pages import API, api_error, bad_request

Handler = Callable[[HttpRequest], HttpResponse]
IMPORT_SUFFIX = "/import/"


class SlashMiddleware(CommonMiddleware):
    """Django's, but never redirecting a program: a client would repeat its POST as a GET."""

    def should_redirect_with_slash(self, request: HttpRequest) -> bool:
        return not request.path.startswith(API) and super().should_redirect_with_slash(request)


class LanguageMiddleware(LocaleMiddleware):
    """The language that a signed-in person chose; else the browser's cookie, then its own choice.

    Programs with a bearer token send no cookie: they read English unless they ask for more.
    """

    def process_request(self, request: HttpRequest) -> None:
        language = getattr(request.user, "language", "")
        if language not in dict(settings.LANGUAGES):
            language = get_language_from_request(request)
        translation.activate(language)
        request.LANGUAGE_CODE = translation.get_language()

    def process_response(
        self, request: HttpRequest, response: HttpResponseBase
    ) -> HttpResponseBase:
        answered = super().process_response(request, response)
        # The thread's next request may fail before anybody asks for its language.
        translation.deactivate()
        return answered


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
