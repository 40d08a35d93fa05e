"""The views of a task's texts over HTTP: who gets them, what they hold, what is remembered."""

from __future__ import annotations

import pytest
from django.test import Client

from labeling import services
from labeling.models import Assignment, Completion
from tests.browser.world import ANSWERS, make_labeler, make_pool

pytestmark = pytest.mark.django_db
TEXT = "# Title\n\n$x^2$ <b>no</b>\u200b [link](https://a.example)"


def client_of(name: str) -> Client:
    client = Client()
    client.force_login(make_labeler(name))
    return client


@pytest.fixture
def mina() -> Client:
    make_pool([TEXT, *ANSWERS[1:]])
    client = client_of("mina")
    client.get("/rank/", follow=True)
    return client


def page() -> str:
    return f"/assignments/{Assignment.objects.get().pk}/"


@pytest.mark.parametrize("path", ["", "texts/"])
def test_each_view_shows_the_text_its_own_way(mina: Client, path: str) -> None:
    shown = {
        view: mina.get(f"{page()}{path}?view={view}").content.decode()
        for view in ("text", "markdown", "raw", "no-such-view")
    }
    assert '<div class="plain"># Title\n\n$x^2$ &lt;b&gt;no&lt;/b&gt;<bdi' in shown["text"]
    assert '<div class="raw"># Title\n\n$x^2$ &lt;b&gt;no&lt;/b&gt;<bdi' in shown["raw"]
    assert '<div class="markdown"><h3 dir="auto" class="level-1">Title</h3>' in shown["markdown"]
    assert "<msup><mi>x</mi><mn>2</mn></msup>" in shown["markdown"]
    assert 'href="https://a.example' not in shown["markdown"]
    assert '<div class="plain"># Title' in shown["no-such-view"]


def test_the_texts_have_a_place_on_the_page_each(mina: Client) -> None:
    texts = mina.get(page() + "texts/").content.decode()
    for place in ["turn-1", "guidelines", "A", "B", "C", "D"]:
        assert texts.count(f'data-text="{place}"') == 1
        assert mina.get(page()).content.decode().count(f'data-text="{place}"') == 1


def test_a_text_that_cannot_be_rendered_says_why(mina: Client) -> None:
    Completion.objects.update(text="> " * 5_000)
    html = mina.get(page() + "?view=markdown").content.decode()
    assert html.count("Shown as text: it nests too deeply.") == 4
    assert html.count('<div class="plain">&gt; &gt;') == 4


def test_the_choice_is_remembered_and_a_look_at_raw_is_not(mina: Client) -> None:
    for view in ("markdown", "raw"):
        mina.get(f"{page()}?view={view}")
    assert mina.cookies["view"].value == "markdown"
    assert 'class="markdown"' in mina.get(page()).content.decode()
    mina.cookies["view"] = "no-such-view"
    assert 'class="plain"' in mina.get(page()).content.decode()


def test_nobody_reads_texts_of_another_and_reading_leases_nothing(mina: Client) -> None:
    assert client_of("other").get(page() + "texts/").status_code == 404
    assert Client().get(page() + "texts/").status_code == 302
    assert mina.post(page() + "texts/").status_code == 405
    assignment = Assignment.objects.get()
    services.skip_assignment(
        assignment.labeler, assignment.pk, lease_token=assignment.lease_token, reason="unclear"
    )
    assert mina.get(page() + "texts/").status_code == 200
    assert Assignment.objects.count() == 1
