"""What the ranking page makes a browser load: every script it can reach, libraries included."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.contrib.staticfiles import finders
from django.core.exceptions import ImproperlyConfigured
from django.test import Client

from labeling.templatetags.scripts import modules, reachable, static_version
from tests.browser.world import ANSWERS, PASSWORD, make_labeler, make_pool

MAX_BYTES = 60_000


def scripts_named_in(html: str) -> set[str]:
    """Addresses of scripts in any attribute: loaded now, or by a module later."""
    return set(re.findall(rf'"({re.escape(settings.STATIC_URL)}[^"]+\.m?js)\b', html))


def ranking_page() -> str:
    make_pool(ANSWERS)
    client = Client()
    client.login(username=make_labeler().username, password=PASSWORD)
    return client.get("/rank/", follow=True).content.decode()


@pytest.mark.django_db
def test_the_ranking_page_loads_little_javascript() -> None:
    sizes = reachable(scripts_named_in(ranking_page()))
    names = {url.rsplit("/", 1)[-1] for url in sizes}
    assert {"shell.js", "rank.js", "board.js", "drag.js"} <= names, "the search lost its way"
    assert sum(sizes.values()) <= MAX_BYTES, sizes


@pytest.mark.django_db
def test_what_the_page_imports_is_asked_for_with_the_page_itself() -> None:
    """Not when the module that imports it has come and was read, level by level."""
    html = ranking_page()
    scripts = set(re.findall(r'<script type="module" src="([^"]+)"', html))
    preloaded = set(re.findall(r'<link rel="modulepreload" href="([^"]+)"', html))
    assert "/static/labeling/js/rank.js" in scripts
    assert preloaded == reachable(scripts).keys() - scripts
    assert html.index("modulepreload") < html.index("<script")


def test_an_import_that_comes_while_the_page_is_worked_on_is_seen(
    settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "page.js").write_text("")
    (tmp_path / "b.js").write_text("")
    monkeypatch.setattr(finders, "find", lambda name: str(tmp_path / name))
    settings.DEBUG = True
    assert "b.js" not in modules("page.js")
    (tmp_path / "page.js").write_text('import "./b.js";')
    assert '<link rel="modulepreload" href="/static/b.js">' in modules("page.js")


@pytest.mark.django_db
def test_the_page_says_which_version_of_the_scripts_it_was_written_for() -> None:
    assert f'data-version="{static_version()}"' in ranking_page()


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
    with pytest.raises(ImproperlyConfigured, match="nobody can tell"):
        reachable({"/static/page.js"}, lambda _: tmp_path / "page.js")


def test_a_string_after_the_word_from_is_no_import(tmp_path: Path) -> None:
    (tmp_path / "page.js").write_text('const asked = query.get("from") ?? "";\n')
    sizes = reachable({"/static/page.js"}, lambda _: tmp_path / "page.js")
    assert list(sizes) == ["/static/page.js"]
