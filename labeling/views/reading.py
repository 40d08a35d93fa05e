"""How texts are shown: as asked for, else as this browser chose last."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse

from labeling.rendering.document import Renderer

VIEWS = ("text", "markdown", "raw")
VIEW_COOKIE_SECONDS = 365 * 24 * 3600


def reading(request: HttpRequest, asked: str = "") -> dict[str, Any]:
    """The view and a renderer, for ``labeling/_text.html``."""
    view = asked or request.COOKIES.get("view")
    return {"view": view if view in VIEWS else VIEWS[0], "renderer": Renderer()}


def remember_view(response: HttpResponse, asked: str) -> None:
    """A look at the raw text is no choice."""
    if asked in VIEWS[:2]:
        response.set_cookie("view", asked, max_age=VIEW_COOKIE_SECONDS, samesite="Lax")
