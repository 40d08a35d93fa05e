"""The pages for writing as a browser without JavaScript meets them."""

from __future__ import annotations

import re
import uuid
from html import unescape
from typing import Any

import pytest
from django.test import Client

from labeling import services
from labeling.models import Demonstration, FormerText, Pool, Prompt, Proposal, User, Writing
from tests.browser.world import ANSWERS, HOSTILE, make_labeler, make_pool
from tests.conftest import as_lines

pytestmark = pytest.mark.django_db


def browser_of(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def mina() -> User:
    return make_labeler()


@pytest.fixture
def desk(mina: User) -> Client:
    return browser_of(mina)


@pytest.fixture
def pool() -> Pool:
    return make_pool(ANSWERS, ANSWERS)


def hidden(html: str, name: str) -> str:
    match = re.search(rf'name="{name}" value="([^"]+)"', html)
    assert match is not None
    return match[1]


def texts_of(html: str, name: str) -> list[str]:
    areas = re.findall(rf'<textarea[^>]*name="{name}"[^>]*>\n(.*?)</textarea>', html, re.S)
    templates = "".join(re.findall(r"<template.*?</template>", html, re.S))
    extra = re.findall(rf'<textarea[^>]*name="{name}"[^>]*>\n(.*?)</textarea>', templates, re.S)
    return [unescape(area) for area in areas[: len(areas) - len(extra)]]


def open_writing(client: Client, path: str = "/write/") -> tuple[str, str]:
    response = client.get(path, follow=True)
    assert response.status_code == 200
    return response.redirect_chain[-1][0], response.content.decode()


def said(response: Any) -> str:
    """The one message of the page that follows."""
    return re.sub(r"\s+", " ", response.content.decode())


# --- demonstrations -------------------------------------------------------------------------------


NOBODYS = uuid.UUID(int=1)


@pytest.mark.parametrize(
    "path",
    ["/write/", "/pools/1/write/", f"/writings/{NOBODYS}/", "/demonstrations/", "/prompts/",
     "/prompts/new/", "/review/prompts/", f"/review/prompts/{NOBODYS}/"],
)  # fmt: skip
def test_strangers_are_asked_to_sign_in(client: Client, path: str) -> None:
    response = client.get(path)
    assert response.status_code == 302
    assert response["Location"].startswith("/login/?next=")


def test_a_demonstration_is_written_by_a_plain_form(desk: Client, pool: Pool) -> None:
    path, html = open_writing(desk)
    data = {"submission_id": hidden(html, "submission_id"), "text": "Dear\r\n Mina,\r\n"}
    answer = desk.post(path, data | {"do": "submit"}, follow=True)
    assert "Demonstration saved" in said(answer)
    assert Demonstration.objects.get().text == "Dear\n Mina,\n"
    assert answer.redirect_chain[-1][0] != path
    again = desk.post(path, data | {"do": "submit"}, follow=True)
    assert again.status_code == 200
    assert Demonstration.objects.count() == 1


def test_a_draft_is_saved_by_a_button_and_is_there_again(desk: Client, pool: Pool) -> None:
    path, html = open_writing(desk)
    data = {"submission_id": hidden(html, "submission_id"), "text": "\nhalf <b>"}
    answer = desk.post(path, data | {"do": "draft"}, follow=True)
    assert "Draft saved" in said(answer)
    assert texts_of(answer.content.decode(), "text") == ["\nhalf <b>"]
    assert Writing.objects.get().draft == "\nhalf <b>"


def test_preview_and_views_keep_what_was_typed_and_its_submission(desk: Client, pool: Pool) -> None:
    path, html = open_writing(desk)
    submission = hidden(html, "submission_id")
    data = {"submission_id": submission, "text": "**bold** <script>alert(1)</script>"}
    for action in ("preview", "write", "view:markdown", "view:raw"):
        answer = desk.post(path, data | {"do": action})
        html = answer.content.decode()
        assert texts_of(html, "text") == [data["text"]]
        assert hidden(html, "submission_id") == submission
        assert ("<strong>bold</strong>" in html) == (action == "preview")
        assert "<script>alert" not in html
    assert not Demonstration.objects.exists()


@pytest.mark.parametrize("text", ["", " \n "])
def test_an_empty_demonstration_is_refused_beside_the_form(
    desk: Client, pool: Pool, text: str
) -> None:
    path, html = open_writing(desk)
    data = {"submission_id": hidden(html, "submission_id"), "text": text, "do": "submit"}
    answer = desk.post(path, data)
    assert answer.status_code == 422
    assert "text is empty" in said(answer)
    assert Writing.objects.get().state == "open"


def test_a_conversation_is_shown_with_its_roles_and_the_guidelines(desk: Client) -> None:
    pool = services.create_pool(name="talk", guidelines="**Be kind.**")
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "first question"},
        {"role": "assistant", "content": "first answer"},
        {"role": "user", "content": HOSTILE[0]},
    ]
    services.import_prompts(pool, as_lines({"messages": turns}))
    html = open_writing(desk)[1]
    assert re.findall(r'<p class="role">(\w+)</p>', html) == ["System", "User", "Assistant", "User"]
    assert "<strong>Be kind.</strong>" in html
    assert "<img src='//evil" not in html


def test_skip_needs_a_reason_and_goes_on(desk: Client, pool: Pool) -> None:
    path, _ = open_writing(desk)
    answer = desk.post(f"{path}skip/", {}, follow=True)
    assert "choose why" in said(answer)
    reason = {"reason": "The prompt is unclear or broken", "detail": "twice"}
    answer = desk.post(f"{path}skip/", reason, follow=True)
    assert "Skipped" in said(answer)
    assert answer.redirect_chain[-1][0] != path
    assert Writing.objects.get(state="skipped").skip_reason.endswith("broken: twice")


def test_what_is_done_or_somebody_elses_opens_no_editor(
    desk: Client, mina: User, pool: Pool
) -> None:
    path, _ = open_writing(desk)
    stranger = browser_of(make_labeler("noah"))
    assert stranger.get(path).status_code == 404
    assert stranger.post(path, {"text": "x", "do": "submit"}).status_code == 404
    desk.post(f"{path}skip/", {"reason": "Another reason"})
    answer = desk.get(path, follow=True)
    assert "That prompt is done" in said(answer)


def test_ones_last_demonstrations_can_be_changed(desk: Client, pool: Pool) -> None:
    path, html = open_writing(desk)
    first = {"submission_id": hidden(html, "submission_id"), "text": "early words", "do": "submit"}
    desk.post(path, first)
    listed = desk.get("/demonstrations/")
    assert path in listed.content.decode()
    html = desk.get(path).content.decode()
    assert texts_of(html, "text") == ["early words"]
    change = {"submission_id": hidden(html, "submission_id"), "text": "second", "do": "submit"}
    assert "Your change is saved" in said(desk.post(path, change, follow=True))
    assert Demonstration.objects.get().text == "second"
    assert FormerText.objects.get().text == "early words"
    assert (
        "early words"
        not in browser_of(make_labeler("noah")).get("/demonstrations/").content.decode()
    )


def test_where_there_is_nothing_to_write_for_the_page_says_so(desk: Client) -> None:
    pool = services.create_pool(name="empty")
    assert "Nothing to write for" in said(desk.get(f"/pools/{pool.pk}/write/"))
    assert desk.get("/pools/999/write/").status_code == 404
    Pool.objects.update(takes_demonstrations=False)
    answer = desk.get(f"/pools/{pool.pk}/write/", follow=True)
    assert "takes no demonstrations" in said(answer)


# --- prompts --------------------------------------------------------------------------------------


def filled(html: str, pool: Pool, **changes: Any) -> dict[str, Any]:
    return {
        "submission_id": hidden(html, "submission_id"), "pool": pool.pk, "kind": "plain",
        "use_case": "chat", "role": ["user"], "content": ["Tell me a joke."],
        "instruction": "", "query": ["", ""], "response": ["", ""], "last_query": "",
        "application": "", "do": "submit",
    } | changes  # fmt: skip


def test_a_prompt_is_written_by_a_plain_form(desk: Client, pool: Pool) -> None:
    html = desk.get("/prompts/new/").content.decode()
    answer = desk.post("/prompts/new/", filled(html, pool), follow=True)
    assert answer.redirect_chain[-1][0] == "/prompts/"
    assert "waits for a reviewer" in said(answer)
    assert "Tell me a joke." in answer.content.decode()
    again = desk.post("/prompts/new/", filled(html, pool), follow=True)
    assert again.redirect_chain[-1][0] == "/prompts/"
    assert Proposal.objects.count() == 1


def test_turns_and_examples_come_and_go_by_buttons(desk: Client, pool: Pool) -> None:
    html = desk.get("/prompts/new/").content.decode()
    data = filled(html, pool, instruction="Do it", query=["q1", "q2"], response=["r1", "r2"])
    html = desk.post("/prompts/new/", data | {"do": "add-turn"}).content.decode()
    assert texts_of(html, "content") == ["Tell me a joke.", ""]
    two = data | {"role": ["user", "assistant"], "content": ["a", "b"]}
    html = desk.post("/prompts/new/", two | {"do": "add-system"}).content.decode()
    assert texts_of(html, "content") == ["", "a", "b"]
    html = desk.post("/prompts/new/", two | {"do": "remove-turn:0"}).content.decode()
    assert texts_of(html, "content") == ["b"]
    html = desk.post("/prompts/new/", data | {"do": "add-example"}).content.decode()
    assert texts_of(html, "query") == ["q1", "q2", ""]
    html = desk.post("/prompts/new/", data | {"do": "remove-example:1"}).content.decode()
    assert texts_of(html, "response") == ["r1"]
    for strange in ("remove-turn:9", "remove-turn:-1", "remove-turn:x", "nonsense", ""):
        html = desk.post("/prompts/new/", two | {"do": strange}).content.decode()
        assert texts_of(html, "content") == ["a", "b"]
    assert not Proposal.objects.exists()


def test_a_few_shot_prompt_by_a_plain_form_and_its_preview(desk: Client, pool: Pool) -> None:
    html = desk.get("/prompts/new/").content.decode()
    data = filled(
        html, pool, kind="few-shot", instruction="Say it in French.", query=["yes", "no"],
        response=["oui", "non"], last_query="please", content=[""],
    )  # fmt: skip
    preview = desk.post("/prompts/new/", data | {"do": "preview"}).content.decode()
    assert preview.count('<p class="role">') == 5
    desk.post("/prompts/new/", data)
    assert [turn["content"] for turn in Proposal.objects.get().messages] == [
        "Say it in French.\n\nyes", "oui", "no", "non", "please",
    ]  # fmt: skip


def test_the_use_case_given_is_the_one_that_is_stored(desk: Client, pool: Pool) -> None:
    services.add_applications(pool, ["bakery <b>", "law"])
    html = desk.get("/prompts/new/").content.decode()
    given = hidden(html, "application")
    assert "bakery &lt;b&gt;" in html
    data = filled(html, pool, kind="user-based", application=given)
    html = desk.post("/prompts/new/", data | {"do": "other-use-case"}).content.decode()
    other = hidden(html, "application")
    assert other != given
    desk.post("/prompts/new/", data | {"application": other})
    assert str(Proposal.objects.get().application_id) == other


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"content": [" "]}, "Turn 1 is empty"),
        ({"use_case": ""}, "Choose a use case"),
        ({"kind": "few-shot"}, "Something is missing"),
        ({"kind": "user-based"}, "needs the use case"),
        ({"pool": 999}, "takes no prompts"),
        ({"kind": "strange"}, "strange"),
    ],
)
def test_a_refused_prompt_stays_in_the_form(
    desk: Client, pool: Pool, change: dict[str, Any], says: str
) -> None:
    html = desk.get("/prompts/new/").content.decode()
    data = filled(html, pool, instruction="kept") | change
    answer = desk.post("/prompts/new/", data)
    assert answer.status_code == 422
    assert says in said(answer)
    assert texts_of(answer.content.decode(), "instruction") == ["kept"]
    assert not Proposal.objects.exists()


def test_a_duplicate_is_told_with_its_pool(desk: Client, pool: Pool) -> None:
    html = desk.get("/prompts/new/").content.decode()
    answer = desk.post("/prompts/new/", filled(html, pool, content=["Prompt 1"]))
    assert answer.status_code == 409
    assert "The pool “Support” has this very prompt already" in said(answer)


def test_without_a_pool_that_takes_prompts_there_is_no_page(desk: Client, pool: Pool) -> None:
    Pool.objects.update(takes_prompts=False)
    assert "No pool takes written prompts" in said(desk.get("/prompts/new/", follow=True))


def test_a_rejected_prompt_can_be_written_anew(desk: Client, mina: User, pool: Pool) -> None:
    proposal = propose(mina, pool, "Hi")
    services.reject_proposal(make_labeler("rob", "reviewer"), proposal.pk, reason="Too <b>short")
    html = desk.get("/prompts/").content.decode()
    assert "Too &lt;b&gt;short" in html
    assert f"/prompts/new/?from={proposal.pk}" in html
    html = desk.get(f"/prompts/new/?from={proposal.pk}").content.decode()
    assert texts_of(html, "content") == ["Hi"]
    stranger = browser_of(make_labeler("noah"))
    assert stranger.get(f"/prompts/new/?from={proposal.pk}").status_code == 404
    assert "short" not in stranger.get("/prompts/").content.decode()


# --- review ---------------------------------------------------------------------------------------


def propose(author: User, pool: Pool, *contents: str) -> Proposal:
    roles = ["user", "assistant"] * len(contents)
    turns = [{"role": r, "content": c} for r, c in zip(roles, contents, strict=False)]
    return services.propose_prompt(
        author, pool=pool, submission_id=uuid.uuid4(), kind="plain", use_case="chat", messages=turns
    )


@pytest.fixture
def rob() -> Client:
    return browser_of(make_labeler("rob", "reviewer"))


def decision(*contents: str, **changes: Any) -> dict[str, Any]:
    roles = (["user", "assistant"] * len(contents))[: len(contents)]
    return {"role": roles, "content": list(contents), "use_case": "chat", "do": "accept"} | changes


def test_labelers_see_no_review_page(desk: Client, mina: User, pool: Pool) -> None:
    proposal = propose(make_labeler("noah"), pool, "secret")
    for path in ("/review/prompts/", f"/review/prompts/{proposal.pk}/"):
        assert desk.get(path).status_code == 403
        assert desk.post(path, decision("secret")).status_code in (403, 405)
    assert "Review" not in desk.get("/").content.decode()
    proposal.refresh_from_db()
    assert proposal.state == "proposed"


def test_a_reviewer_accepts_and_goes_on_to_the_next(rob: Client, mina: User, pool: Pool) -> None:
    first = propose(mina, pool, "one\r\ntwo", "answer", "three")
    second = propose(mina, pool, "next")
    assert "2 written prompts wait" in said(rob.get("/"))
    listed = rob.get("/review/prompts/").content.decode()
    assert listed.index(str(first.pk)) < listed.index(str(second.pk))
    shown = decision("one\r\ntwo", "answer", "three")
    answer = rob.post(f"/review/prompts/{first.pk}/", shown, follow=True)
    assert answer.redirect_chain[-1][0] == f"/review/prompts/{second.pk}/"
    prompt = Prompt.objects.get(source="written")
    assert prompt.messages == first.messages
    answer = rob.post(f"/review/prompts/{second.pk}/", decision("next"), follow=True)
    assert answer.redirect_chain[-1][0] == "/review/prompts/"
    assert "Nothing waits for review" in said(answer)


def test_a_reviewer_edits_then_accepts(rob: Client, desk: Client, mina: User, pool: Pool) -> None:
    path = f"/review/prompts/{propose(mina, pool, 'wnat is rain').pk}/"
    html = rob.post(path, decision("What is rain?", do="add-turn")).content.decode()
    assert texts_of(html, "content") == ["What is rain?", ""]
    rob.post(path, decision("What is rain?", use_case="open qa"))
    prompt = Prompt.objects.get(source="written")
    assert (prompt.messages[0]["content"], prompt.use_case) == ("What is rain?", "open qa")
    seen = said(desk.get("/prompts/"))
    assert "edited by the reviewer" in seen
    assert "What is rain?" in seen
    assert "rob" not in seen


def test_a_reviewer_rejects_with_a_reason(rob: Client, mina: User, pool: Pool) -> None:
    proposal = propose(mina, pool, "Hi")
    path = f"/review/prompts/{proposal.pk}/"
    answer = rob.post(path, {"do": "reject", "reason": " "})
    assert answer.status_code == 422
    assert "Give a reason" in said(answer)
    assert texts_of(answer.content.decode(), "content") == ["Hi"]
    assert "Rejected" in said(rob.post(path, {"do": "reject", "reason": "No."}, follow=True))
    assert "No." in said(rob.get("/review/prompts/?state=rejected"))
    twice = rob.post(path, {"do": "reject", "reason": "No."}, follow=True)
    assert twice.redirect_chain[-1][0] == "/review/prompts/"
    late = rob.post(path, decision("Hi"))
    assert late.status_code == 409
    assert "rejected meanwhile" in said(late)


def test_a_reviewers_own_prompt_waits_for_somebody_else(pool: Pool) -> None:
    user = make_labeler("rob", "reviewer")
    path = f"/review/prompts/{propose(user, pool, 'Mine').pk}/"
    rob = browser_of(user)
    assert "Somebody else must review" in said(rob.get(path))
    assert rob.post(path, decision("Mine")).status_code == 409
    ada = browser_of(services.create_user(username="ada", password=None, role="admin"))
    assert ada.post(path, decision("Mine")).status_code == 302


def test_hostile_proposals_do_the_reviewer_no_harm(rob: Client, mina: User, pool: Pool) -> None:
    for text in HOSTILE:
        path = f"/review/prompts/{propose(mina, pool, text).pk}/"
        for view in ("text", "markdown", "raw"):
            rob.cookies["view"] = view
            html = rob.get(path).content.decode()
            assert "<script>document" not in html
            assert "<iframe" not in html
            assert "<img" not in html
    listed = rob.get("/review/prompts/").content.decode()
    assert "<img" not in listed


# --- the admin ------------------------------------------------------------------------------------


def test_the_admin_adds_use_cases_and_shows_proposals(mina: User, pool: Pool) -> None:
    ada = browser_of(services.create_user(username="ada", password=None, role="admin"))
    proposal = propose(mina, pool, "Hi")
    shown = ada.get(f"/admin/labeling/proposal/{proposal.pk}/change/")
    assert f"/review/prompts/{proposal.pk}/" in shown.content.decode()
    data = {"pool": pool.pk, "texts": "one\r\n\r\n two \r\none"}
    answer = ada.post("/admin/labeling/application/add/", data, follow=True)
    assert answer.status_code == 200
    assert sorted(a.text for a in pool.applications.all()) == ["one", "two"]
    one = pool.applications.get(text="one")
    ada.post(f"/admin/labeling/application/{one.pk}/change/", {})
    one.refresh_from_db()
    assert (one.is_open, one.text) == (False, "one")
    assert ada.get("/admin/labeling/proposal/").status_code == 200
    assert ada.get("/admin/labeling/application/").status_code == 200


def test_a_pool_with_proposals_is_not_deleted(mina: User) -> None:
    ada = browser_of(services.create_user(username="ada", password=None, role="admin"))
    pool = services.create_pool(name="kept")
    propose(mina, pool, "Hi")
    ada.post(f"/admin/labeling/pool/{pool.pk}/delete/", {"post": "yes"})
    assert Pool.objects.filter(pk=pool.pk).exists()
