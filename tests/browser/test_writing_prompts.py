"""Writing prompts and reviewing them in a real browser."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from labeling import services
from labeling.models import Pool, Prompt, Proposal, User
from tests.browser.conftest import Watched
from tests.browser.test_accessibility import DARK, PHONE, findings
from tests.browser.test_writing_page import copies
from tests.browser.world import HOSTILE, make_labeler
from tests.labeling.test_writing_pages import propose

pytestmark = pytest.mark.django_db(transaction=True)

SignIn = Callable[..., Watched]
NEW = "/prompts/new/"
MODES = pytest.mark.parametrize(
    "options", [{}, DARK, PHONE, PHONE | DARK], ids=["light", "dark", "phone", "phone-dark"]
)


@pytest.fixture
def pool() -> Pool:
    return services.create_pool(name="Support")


def open_new(sign_in: SignIn, user: User | None = None, **options: object) -> Watched:
    watched = sign_in(user or make_labeler(), **options)
    watched.open(NEW)
    expect(watched.page.locator("[data-characters]")).not_to_be_empty()
    return watched


def turn_texts(page: Page) -> list[str]:
    return page.locator("fieldset[data-turn] textarea").evaluate_all("all => all.map(a => a.value)")


def press(page: Page, key: str, times: int = 1) -> None:
    for _ in range(times):
        page.keyboard.press(key)


def test_a_conversation_is_written_by_keyboard_alone(sign_in: SignIn, pool: Pool) -> None:
    page = open_new(sign_in).page
    page.get_by_label("Use case").focus()
    page.keyboard.type("Chat")
    press(page, "Tab", 4)
    expect(page.get_by_label("Whose turn")).to_be_focused()
    press(page, "Tab", 1)
    page.keyboard.type("Hello")
    press(page, "Tab")
    expect(page.get_by_role("button", name="Add a turn")).to_be_focused()
    press(page, "Enter")
    expect(page.get_by_label("Text of the turn").nth(1)).to_be_focused()
    page.keyboard.type("Hi! What is it?")
    page.get_by_role("button", name="Add a turn").press("Enter")
    page.keyboard.type("A joke.")
    page.get_by_role("button", name="Add a system turn").press("Space")
    page.keyboard.type("Be brief.")
    press(page, "Control+Enter")
    expect(page.locator("[data-messages]")).to_contain_text("waits for a reviewer")
    stored = Proposal.objects.get()
    assert [(turn["role"], turn["content"]) for turn in stored.messages] == [
        ("system", "Be brief."),
        ("user", "Hello"),
        ("assistant", "Hi! What is it?"),
        ("user", "A joke."),
    ]
    assert (stored.use_case, stored.kind) == ("chat", "plain")
    expect(page.get_by_text("Waiting for review")).to_be_visible()
    assert copies(page) == 0


def test_turns_are_removed_and_the_last_one_stays(sign_in: SignIn, pool: Pool) -> None:
    page = open_new(sign_in).page
    page.get_by_label("Text of the turn").fill("one")
    expect(page.get_by_role("button", name="Remove this turn")).to_be_hidden()
    page.get_by_role("button", name="Add a turn").click()
    page.keyboard.type("two")
    page.get_by_role("button", name="Remove this turn").first.click()
    assert turn_texts(page) == ["two"]
    expect(page.get_by_label("Text of the turn")).to_be_focused()
    expect(page.locator("[data-announce]")).to_have_text("Removed.")


def test_a_few_shot_prompt_is_written_in_its_parts(sign_in: SignIn, pool: Pool) -> None:
    watched = open_new(sign_in)
    page = watched.page
    page.get_by_label("Few-shot").check()
    expect(page.get_by_label("Text of the turn")).to_be_hidden()
    page.get_by_label("Use case").select_option("classification")
    page.get_by_label("Instruction").fill("Give the sentiment.")
    page.get_by_role("button", name="Add an example").click()
    for place, (query, response) in enumerate([("a", "b"), ("c", "d"), ("e", "f")]):
        example = page.locator("fieldset[data-example]").nth(place)
        example.get_by_label("Query").fill(query)
        example.get_by_label("Response").fill(response)
    page.get_by_role("button", name="Send it to review").click()
    expect(page.get_by_role("alert")).to_contain_text("the last query")
    expect(page.get_by_label("The query to be answered")).to_be_focused()
    page.get_by_label("The query to be answered").fill("g")
    page.get_by_role("button", name="Preview").click()
    expect(page.locator("[data-preview] .said")).to_have_count(7)
    page.get_by_role("button", name="Send it to review").click()
    expect(page.locator("[data-messages]")).to_contain_text("waits for a reviewer")
    assert [t["content"] for t in Proposal.objects.get().messages][-3:] == ["e", "f", "g"]
    watched.forgive("400")


def test_a_user_based_prompt_gets_a_use_case_and_may_ask_for_another(
    sign_in: SignIn, pool: Pool
) -> None:
    services.add_applications(pool, ["I run a bakery.", "I teach law."])
    page = open_new(sign_in).page
    page.get_by_label("User-based").check()
    expect(page.get_by_text("I run a bakery.")).to_be_visible()
    page.get_by_role("button", name="Another use case").click()
    expect(page.get_by_text("I teach law.")).to_be_visible()
    page.get_by_label("Use case").select_option("summarization")
    page.get_by_label("Text of the turn").fill("Sum up this ruling.")
    page.reload()
    expect(page.get_by_text("I teach law.")).to_be_visible()
    press(page, "Control+Enter")
    expect(page.locator("[data-messages]")).to_contain_text("waits for a reviewer")
    application = Proposal.objects.get().application
    assert application is not None
    assert application.text == "I teach law."


def test_what_is_written_survives_a_reload_and_a_lost_network(sign_in: SignIn, pool: Pool) -> None:
    watched = open_new(sign_in)
    page = watched.page
    page.get_by_label("Use case").select_option("chat")
    page.get_by_label("Text of the turn").fill("kept here")
    page.get_by_role("button", name="Add a turn").click()
    page.keyboard.type("and here")
    page.reload()
    expect(page.locator("[data-save-state]")).to_contain_text("is back")
    assert turn_texts(page) == ["kept here", "and here"]
    page.get_by_role("button", name="Remove this turn").last.click()
    page.context.set_offline(True)
    press(page, "Control+Enter")
    expect(page.get_by_role("alert")).to_contain_text("Nothing is lost")
    page.context.set_offline(False)
    press(page, "Control+Enter")
    expect(page.locator("[data-messages]")).to_contain_text("waits for a reviewer")
    page.goto(watched.server + NEW)
    assert turn_texts(page) == [""]
    watched.forgive("ERR_INTERNET_DISCONNECTED")


def test_what_is_missing_or_there_already_is_told_at_its_place(sign_in: SignIn, pool: Pool) -> None:
    watched = open_new(sign_in)
    page = watched.page
    press(page, "Control+Enter")
    expect(page.get_by_role("alert")).to_contain_text("Choose a use case")
    expect(page.get_by_label("Use case")).to_be_focused()
    page.get_by_label("Use case").select_option("chat")
    press(page, "Control+Enter")
    expect(page.get_by_role("alert")).to_contain_text("Turn 1 is empty")
    expect(page.get_by_label("Text of the turn")).to_be_focused()
    services.import_prompts(pool, [b'{"prompt": "there"}'])
    page.keyboard.type("there")
    press(page, "Control+Enter")
    expect(page.get_by_role("alert")).to_contain_text("“Support” has this very prompt")
    assert not Proposal.objects.exists()
    watched.forgive("400", "409")


def test_without_javascript_turns_come_and_go_by_buttons(sign_in: SignIn, pool: Pool) -> None:
    page = sign_in(make_labeler(), java_script_enabled=False).open(NEW)
    page.get_by_label("Use case").select_option("chat")
    page.get_by_label("Text of the turn").fill("Hello")
    page.get_by_role("button", name="Add a turn").click()
    page.get_by_label("Text of the turn").nth(1).fill("Hi!")
    page.get_by_role("button", name="Add a turn").click()
    page.get_by_label("Text of the turn").nth(2).fill("A joke.")
    page.get_by_role("button", name="Preview").click()
    expect(page.locator("[data-preview] .said")).to_have_count(3)
    page.get_by_label("Few-shot").check()
    expect(page.get_by_label("Instruction")).to_be_visible()
    expect(page.get_by_label("Text of the turn").first).to_be_hidden()
    page.get_by_label("Plain").check()
    page.get_by_role("button", name="Send it to review").click()
    expect(page.locator("[data-messages]")).to_contain_text("waits for a reviewer")
    assert len(Proposal.objects.get().messages) == 3


def test_the_review_from_proposal_to_prompt_and_back_to_the_author(
    sign_in: SignIn, pool: Pool
) -> None:
    mina = make_labeler()
    propose(mina, pool, "Waht is rain?")
    propose(mina, pool, "Hi")
    reviewer = sign_in(make_labeler("rob", "reviewer")).open("/")
    expect(reviewer.get_by_text("2 written prompts wait for review")).to_be_visible()
    reviewer.get_by_role("link", name="Review prompts").click()
    reviewer.get_by_role("link", name="Start with the oldest").click()
    reviewer.get_by_text("Edit it before you accept it").click()
    reviewer.get_by_label("Text of the turn").fill("What is rain?")
    reviewer.get_by_role("button", name="Add a turn").click()
    reviewer.get_by_role("button", name="Remove this turn").last.click()
    reviewer.get_by_label("Use case").select_option("open qa")
    reviewer.get_by_role("button", name="Accept").last.click()
    expect(reviewer.locator("[data-messages]")).to_contain_text("Accepted")
    reviewer.get_by_label("Or reject it").fill("Too short.")
    reviewer.get_by_role("button", name="Reject").click()
    expect(reviewer.get_by_text("Nothing waits for review.")).to_be_visible()
    prompt = Prompt.objects.get()
    assert (prompt.messages[0]["content"], prompt.source) == ("What is rain?", "written")
    author = sign_in(mina).open("/prompts/")
    expect(author.get_by_text("edited by the reviewer")).to_be_visible()
    expect(author.get_by_text("Too short.")).to_be_visible()
    author.get_by_role("link", name="Write it anew").click()
    assert turn_texts(author) == ["Hi"]


def test_two_reviewers_on_one_page_and_the_second_is_told(sign_in: SignIn, pool: Pool) -> None:
    proposal = propose(make_labeler(), pool, "Once")
    watched = sign_in(make_labeler("rob", "reviewer"))
    page = watched.open(f"/review/prompts/{proposal.pk}/")
    services.accept_proposal(make_labeler("ria", "reviewer"), proposal.pk)
    page.get_by_role("button", name="Accept").last.click()
    expect(page.get_by_role("alert")).to_contain_text("accepted meanwhile")
    assert Prompt.objects.count() == 1
    watched.forgive("409")


def test_hostile_prompts_do_nothing_on_any_page(sign_in: SignIn, pool: Pool) -> None:
    mina = make_labeler()
    proposals = [propose(mina, pool, text) for text in HOSTILE]
    rob = sign_in(make_labeler("rob", "reviewer"))
    for proposal in proposals:
        page = rob.open(f"/review/prompts/{proposal.pk}/")
        expect(page).to_have_title(re.compile("Review a prompt"))
    rob.open("/review/prompts/")
    sign_in(mina).open("/prompts/")


@MODES
def test_axe_finds_nothing_on_the_pages_for_prompts(
    sign_in: SignIn, pool: Pool, options: dict[str, object]
) -> None:
    services.add_applications(pool, ["I run a bakery."])
    watched = open_new(sign_in, **options)
    page = watched.page
    page.get_by_role("button", name="Add a turn").click()
    for kind in ("Plain", "Few-shot", "User-based"):
        page.get_by_label(kind).check()
        assert findings(page) == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    mina = User.objects.get(username="mina")
    rejected = propose(mina, pool, "A very long prompt " * 40 + "w" * 500)
    services.reject_proposal(make_labeler("rob", "reviewer"), rejected.pk, reason="Too long. " * 20)
    page = watched.open("/prompts/")
    page.evaluate("for (const fold of document.querySelectorAll('main details')) fold.open = true")
    assert findings(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@MODES
def test_axe_finds_nothing_on_the_pages_for_review(
    sign_in: SignIn, pool: Pool, options: dict[str, object]
) -> None:
    proposal = propose(make_labeler(), pool, "One", "**Two**", "Three " + "w" * 500)
    watched = sign_in(make_labeler("rob", "reviewer"), **options)
    for path in ("/", "/review/prompts/", f"/review/prompts/{proposal.pk}/"):
        page = watched.open(path)
        unfold = "for (const fold of document.querySelectorAll('main details')) fold.open = true"
        page.evaluate(unfold)
        assert findings(page) == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
