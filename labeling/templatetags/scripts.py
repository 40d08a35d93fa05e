"""The modules of a page: asked for all at once, not level by level, and told apart by version."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cache
from hashlib import sha256
from pathlib import Path
from urllib.parse import urljoin

from django import template
from django.conf import settings
from django.contrib.staticfiles import finders
from django.core.exceptions import ImproperlyConfigured
from django.templatetags.static import static
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

register = template.Library()

STATIC = Path(__file__).resolve().parents[1] / "static"
COMMENT = re.compile(r"/\*.*?\*/|^\s*//[^\n]*", re.DOTALL | re.MULTILINE)
# Without an import map a browser takes only specifiers that begin so.
IMPORTED = re.compile(r"""\b(?:from|import)\s*\(?\s*["']([./][^"']*)["']""")
COMPUTED_IMPORT = re.compile(r"\bimport\s*\(\s*[^\"'\s]")


def file_of(url: str) -> Path:
    """Where the static file at ``url`` lies."""
    path = finders.find(url.removeprefix(settings.STATIC_URL))
    if not path:
        raise ImproperlyConfigured(f"{url} is on a page but not among the static files")
    return Path(path)


def reachable(urls: Iterable[str], file_of: Callable[[str], Path] = file_of) -> dict[str, int]:
    """Address → bytes of every script that these load, and those load, before compression."""
    sizes: dict[str, int] = {}
    ahead = list(urls)
    while ahead:
        if (url := ahead.pop()) in sizes:
            continue
        content = file_of(url).read_bytes()
        sizes[url] = len(content)
        code = COMMENT.sub("", content.decode())
        if COMPUTED_IMPORT.search(code):
            raise ImproperlyConfigured(f"{url}: nobody can tell what this imports")
        ahead += [urljoin(url, name) for name in IMPORTED.findall(code)]
    return sizes


@register.simple_tag
def modules(*names: str) -> SafeString:
    """The page's entry modules, and before them all that they import, so that none waits for
    another to be read.
    """
    # While it is worked on, an import may come or go between two pages.
    return _elements.__wrapped__(names) if settings.DEBUG else _elements(names)


@cache
def _elements(names: tuple[str, ...]) -> SafeString:
    entries = [static(name) for name in names]
    imported = sorted(reachable(entries).keys() - set(entries))
    return format_html(
        "{}{}",
        format_html_join("", '<link rel="modulepreload" href="{}">', ((url,) for url in imported)),
        format_html_join("", '<script type="module" src="{}"></script>', ((u,) for u in entries)),
    )


@register.simple_tag
@cache
def static_version() -> str:
    """What an upgrade changes: a page with the scripts of one version takes nothing that was
    written for those of another.
    """
    files = sorted(path for path in STATIC.rglob("*") if path.suffix in {".js", ".css"})
    return sha256(b"\0".join(path.read_bytes() for path in files)).hexdigest()[:16]
