"""What is answered when no view does: JSON under ``/api/``, Django's pages elsewhere."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views import defaults

API = "/api/"


def api_error(code: str, message: str, status: int) -> JsonResponse:
    return JsonResponse({"error": {"code": code, "message": message, "data": {}}}, status=status)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    if request.path.startswith(API):
        return api_error("bad_request", "The request cannot be read.", 400)
    return defaults.bad_request(request, exception)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    if request.path.startswith(API):
        hint = "" if request.path.endswith("/") else " Addresses end with a slash."
        return api_error("not_found", f"There is no such address.{hint}", 404)
    return defaults.page_not_found(request, exception)


def server_error(request: HttpRequest, *_: Any) -> HttpResponse:
    if request.path.startswith(API):
        return api_error("server_error", "Something went wrong here; it was logged.", 500)
    return defaults.server_error(request)
