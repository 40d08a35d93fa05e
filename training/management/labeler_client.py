"""A labeler's calls of the HTTP API; every refusal is told with the server's answer."""

from __future__ import annotations

import json
import time
import uuid
from http import HTTPStatus
from typing import Any, Self

import httpx

TIMEOUT_SECONDS = 30.0
ATTEMPTS = 4
FIRST_PAUSE_SECONDS = 0.25
LONGEST_PAUSE_SECONDS = 10.0
BUSY = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
MAX_SHOWN = 500


class SimulationError(RuntimeError):
    """The server cannot be reached or refuses the work; the message says why."""


class Refused(SimulationError):
    """The server's answer to a call; ``code`` and ``data`` are the API's, where it has them."""

    def __init__(self, path: str, response: httpx.Response) -> None:
        try:
            error = response.json()["error"]
            self.code, said, self.data = error["code"], error["message"], error.get("data") or {}
        except (ValueError, KeyError, TypeError):
            self.code, said, self.data = "", response.text[:MAX_SHOWN], {}
        what = " ".join(filter(None, [str(response.status_code), self.code]))
        about = f" {json.dumps(self.data)[:MAX_SHOWN]}" if self.data else ""
        super().__init__(f"POST {path} was answered with {what}: {said}{about}")


class LabelerClient:
    """A labeler's calls, tried again on trouble: each may come twice and still be done once."""

    def __init__(self, url: str, transport: httpx.BaseTransport | None = None) -> None:
        self.url = url.rstrip("/")
        self._http = httpx.Client(
            base_url=f"{self.url}/api/v1/", timeout=TIMEOUT_SECONDS, transport=transport
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def check(self) -> None:
        """Raises SimulationError when nobody answers at the address."""
        try:
            self._http.get("")
        except httpx.TransportError as error:
            raise SimulationError(f"no server answers at {self.url} ({error})") from error

    def next_task(self, token: str, pool: str) -> dict[str, Any] | None:
        """The task in hand or the next one; None when none is free for this labeler now."""
        return self._call("assignments/next/", token, {"pool": pool})

    def submit(self, token: str, assignment: str, body: dict[str, Any]) -> dict[str, Any]:
        """What the server says of the ranking."""
        return self._call(f"assignments/{assignment}/submit/", token, body) or {}

    def save_draft(self, token: str, task: dict[str, Any], draft: dict[str, Any]) -> None:
        body = {"lease_token": task["lease_token"], "draft": draft}
        self._call(f"assignments/{task['assignment']}/draft/", token, body)

    def heartbeat(self, token: str, task: dict[str, Any]) -> None:
        body = {"lease_token": task["lease_token"]}
        self._call(f"assignments/{task['assignment']}/heartbeat/", token, body)

    def skip(self, token: str, task: dict[str, Any], reason: str) -> None:
        body = {"lease_token": task["lease_token"], "reason": reason}
        self._skip(f"assignments/{task['assignment']}/skip/", token, body)

    def next_prompt(self, token: str, pool: str) -> dict[str, Any] | None:
        """The prompt in hand or the next one to write for; None when there is none."""
        return self._call("demonstrations/next/", token, {"pool": pool})

    def submit_demonstration(self, token: str, handle: str, text: str) -> None:
        body = {"handle": handle, "submission_id": str(uuid.uuid4()), "text": text}
        self._call("demonstrations/", token, body)

    def skip_prompt(self, token: str, handle: str, reason: str) -> None:
        self._skip("demonstrations/skip/", token, {"handle": handle, "reason": reason})

    def _skip(self, path: str, token: str, body: dict[str, Any]) -> None:
        try:
            self._call(path, token, body)
        except Refused as refused:
            # Said twice because the first answer was lost.
            if refused.data.get("state") != "skipped":
                raise

    def _call(self, path: str, token: str, body: dict[str, Any]) -> dict[str, Any] | None:
        """The answer's content, None when it has none. Raises Refused, SimulationError."""
        response = self._post(path, token, body)
        if response.status_code == HTTPStatus.NO_CONTENT:
            return None
        if not response.is_success:
            raise Refused(response.request.url.path, response)
        try:
            content: dict[str, Any] = response.json()
        except ValueError as error:
            raise Refused(response.request.url.path, response) from error
        return content

    def _post(self, path: str, token: str, body: dict[str, Any]) -> httpx.Response:
        """Tries again, later and later, while the server is busy or the connection breaks."""
        headers = {"Authorization": f"Bearer {token}"}
        pause = FIRST_PAUSE_SECONDS
        for attempt in range(1, ATTEMPTS + 1):
            try:
                response = self._http.post(path, json=body, headers=headers)
            except httpx.TransportError as error:
                if attempt == ATTEMPTS:
                    raise SimulationError(
                        f"POST {path}: lost the server at {self.url} ({error})"
                    ) from error
            else:
                if response.status_code not in BUSY or attempt == ATTEMPTS:
                    return response
                pause = _wanted_pause(response, pause)
            time.sleep(min(pause, LONGEST_PAUSE_SECONDS))
            pause *= 2
        raise AssertionError("the last attempt returns or raises")


def _wanted_pause(response: httpx.Response, pause: float) -> float:
    given = response.headers.get("Retry-After", "")
    return float(given) if given.isdigit() else pause
