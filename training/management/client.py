"""A small client of Podium's own HTTP API, for commands that drive a running server."""

from __future__ import annotations

import os
from http import HTTPStatus
from typing import Any, Self

import httpx

TIMEOUT_SECONDS = 60.0


class ApiError(RuntimeError):
    """The server cannot be reached or refuses; ``code`` is the API's, or empty."""

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code


def default_url() -> str:
    return f"http://127.0.0.1:{os.environ.get('PORT') or 8000}"


class ApiClient:
    """Calls under ``/api/v1/`` with one bearer token. Every refusal is an ApiError."""

    def __init__(self, url: str, token: str) -> None:
        self.url = url.rstrip("/")
        self._http = httpx.Client(
            base_url=f"{self.url}/api/v1/",
            headers={"Authorization": f"Bearer {token}"},
            timeout=TIMEOUT_SECONDS,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, path: str) -> Any:
        return self._call("GET", path)

    def post(self, path: str, body: dict[str, Any] | None = None) -> Any:
        return self._call("POST", path, json=body or {})

    def _call(self, method: str, path: str, **content: Any) -> Any:
        try:
            response = self._http.request(method, path, **content)
        except httpx.TransportError as error:
            raise ApiError(f"no server answers at {self.url} ({error}); start it first") from error
        if response.status_code == HTTPStatus.NO_CONTENT:
            return None
        if response.is_success:
            return response.json()
        raise _refusal(response)


def _refusal(response: httpx.Response) -> ApiError:
    try:
        error = response.json()["error"]
        return ApiError(error["message"], error["code"])
    except (ValueError, KeyError, TypeError):
        return ApiError(f"HTTP {response.status_code}: {response.text[:200]}")
