"""Where a refusal becomes an HTTP answer: ``{"error": {"code", "message", "data"}}``."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from django.conf import settings
from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.http import Http404
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import exception_handler

from labeling import errors

# The other application adds its refusals when it starts; what is not listed is a 400.
STATUS_OF: dict[type[errors.LabelingError], HTTPStatus] = {
    errors.NotFound: HTTPStatus.NOT_FOUND,
    errors.ForeignLease: HTTPStatus.CONFLICT,
    errors.LeaseExpired: HTTPStatus.CONFLICT,
    errors.AssignmentClosed: HTTPStatus.CONFLICT,
    errors.SubmissionConflict: HTTPStatus.CONFLICT,
    errors.EditClosed: HTTPStatus.CONFLICT,
    errors.PoolClosed: HTTPStatus.CONFLICT,
    errors.NameTaken: HTTPStatus.CONFLICT,
    errors.VersionConflict: HTTPStatus.CONFLICT,
    errors.QualificationClosed: HTTPStatus.CONFLICT,
    errors.NotQualified: HTTPStatus.FORBIDDEN,
    errors.WorkPaused: HTTPStatus.FORBIDDEN,
    errors.DuplicatePrompt: HTTPStatus.CONFLICT,
    errors.ProposalClosed: HTTPStatus.CONFLICT,
    errors.OwnProposal: HTTPStatus.FORBIDDEN,
    errors.RevisionClosed: HTTPStatus.CONFLICT,
    errors.AlreadyAdjudicated: HTTPStatus.CONFLICT,
    errors.OwnRanking: HTTPStatus.FORBIDDEN,
}


def handle(error: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's exception handler. What it does not know is our own fault: Django logs it as a 500."""
    if isinstance(error, errors.LabelingError):
        status = STATUS_OF.get(type(error), HTTPStatus.BAD_REQUEST)
        return error_response(error.code, error.message, error.data, status)
    if isinstance(error, RequestDataTooBig):
        message = f"The body may have {settings.DATA_UPLOAD_MAX_MEMORY_SIZE >> 20} MB."
        return error_response("too_large", message, {}, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    if isinstance(error, Http404):
        error = exceptions.NotFound()
    elif isinstance(error, PermissionDenied):
        error = exceptions.PermissionDenied()
    response = exception_handler(error, context)
    if response is None or not isinstance(error, exceptions.APIException):
        return response
    code, message, data = _described(error)
    response.data = _body(code, message, data)
    return response


def error_response(code: str, message: str, data: dict[str, Any], status: HTTPStatus) -> Response:
    return Response(_body(code, message, data), status=status)


def _body(code: str, message: str, data: dict[str, Any]) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "data": data}}


def _described(error: exceptions.APIException) -> tuple[str, str, dict[str, Any]]:
    if isinstance(error, exceptions.ValidationError):
        fields = error.detail if isinstance(error.detail, dict) else {"body": error.detail}
        name = next(iter(fields))
        return "invalid", f"{name}: {_first_message(fields[name])}", {"fields": fields}
    return str(error.get_codes()), str(error.detail), {}


def _first_message(detail: Any) -> str:
    """The first message in DRF's nesting of lists and dicts of messages."""
    while isinstance(detail, list | dict):
        detail = next(iter(detail.values() if isinstance(detail, dict) else detail))
    return str(detail)
