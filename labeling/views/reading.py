"""How texts are shown: as asked for, else as this browser chose last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.http import HttpRequest, HttpResponse

from labeling.rendering.document import Renderer

VIEWS = ("text", "markdown", "raw")
VIEW_COOKIE_SECONDS = 365 * 24 * 3600
# Up to so many characters, the turns before the prompt are shown unfolded.
SHORT_HISTORY = 1_200


def reading(request: HttpRequest, asked: str = "") -> dict[str, Any]:
    """The view and a renderer, for ``labeling/_text.html``."""
    view = asked or request.COOKIES.get("view")
    return {"view": view if view in VIEWS else VIEWS[0], "renderer": Renderer()}


def remember_view(response: HttpResponse, asked: str) -> None:
    """A look at the raw text is no choice."""
    if asked in VIEWS[:2]:
        response.set_cookie("view", asked, max_age=VIEW_COOKIE_SECONDS, samesite="Lax")


def turns_shown(turns: Sequence[dict[str, str]]) -> dict[str, Any]:
    """A conversation for ``labeling/_prompt.html``: its last turn is the prompt."""
    *earlier, prompt = turns
    short = sum(len(turn["content"]) for turn in earlier) <= SHORT_HISTORY
    return {"earlier": earlier, "earlier_open": short, "prompt": prompt}
