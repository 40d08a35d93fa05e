"""What the ranking page makes a browser load: every script it can reach, libraries included."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urljoin

import pytest
from django.conf import settings
from django.contrib.staticfiles import finders
from django.test import Client

from tests.browser.world import ANSWERS, PASSWORD, make_labeler, make_pool

MAX_BYTES = 60_000
COMMENT = re.compile(r"/\*.*?\*/|^\s*//[^\n]*", re.DOTALL | re.MULTILINE)
IMPORTED = re.compile(r"""\b(?:from|import)\s*\(?\s*["']([^"']+)["']""")
COMPUTED_IMPORT = re.compile(r"\bimport\s*\(\s*[^\"'\s]")


def scripts_named_in(html: str) -> set[str]:
    """Addresses of scripts in any attribute: loaded now, or by a module later."""
    return set(re.findall(rf'"({re.escape(settings.STATIC_URL)}[^"]+\.m?js)\b', html))


def file_of(url: str) -> Path:
    path = finders.find(url.removeprefix(settings.STATIC_URL))
    assert path, f"{url} is on the page but not among the static files"
    return Path(path)


def reachable(urls: set[str], file_of: Callable[[str], Path] = file_of) -> dict[str, int]:
    """Address → bytes of every script that these load, and those load, before compression."""
    sizes: dict[str, int] = {}
    ahead = list(urls)
    while ahead:
        if (url := ahead.pop()) in sizes:
            continue
        content = file_of(url).read_bytes()
        sizes[url] = len(content)
        code = COMMENT.sub("", content.decode())
        assert not COMPUTED_IMPORT.search(code), f"{url}: nobody can tell what this imports"
        ahead += [urljoin(url, name) for name in IMPORTED.findall(code)]
    return sizes


@pytest.mark.django_db
def test_the_ranking_page_loads_little_javascript() -> None:
    make_pool(ANSWERS)
    client = Client()
    client.login(username=make_labeler().username, password=PASSWORD)
    html = client.get("/rank/", follow=True).content.decode()
    sizes = reachable(scripts_named_in(html))
    names = {url.rsplit("/", 1)[-1] for url in sizes}
    assert {"shell.js", "rank.js", "board.js", "drag.js"} <= names, "the search lost its way"
    assert sum(sizes.values()) <= MAX_BYTES, sizes


def test_what_a_module_loads_later_is_counted_too(tmp_path: Path) -> None:
    (tmp_path / "page.js").write_text('import { b } from "./b.js";\n')
    (tmp_path / "b.js").write_text('// from "./gone.js"\nawait import("./library/c.mjs");\n')
    (tmp_path / "library").mkdir()
    (tmp_path / "library" / "c.mjs").write_text("x" * 1000)
    urls = scripts_named_in('<script src="/static/page.js?v=1" data-table="/static/x.json">')
    sizes = reachable(urls, lambda url: tmp_path / url.removeprefix("/static/"))
    assert set(sizes) == {"/static/page.js", "/static/b.js", "/static/library/c.mjs"}
    assert sizes["/static/library/c.mjs"] == 1000


def test_an_import_that_nobody_can_follow_is_refused(tmp_path: Path) -> None:
    (tmp_path / "page.js").write_text("await import(form.dataset.library);")
    with pytest.raises(AssertionError, match="nobody can tell"):
        reachable({"/static/page.js"}, lambda _: tmp_path / "page.js")
