"""The page for demonstrations in a real browser: keyboard, drafts, lost network, phone, axe."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from labeling import services
from labeling.models import Demonstration, FormerText, User, Writing
from tests.browser.conftest import Watched
from tests.browser.test_accessibility import DARK, PHONE, findings
from tests.browser.world import HOSTILE, PASSWORD, make_labeler
from tests.conftest import as_lines

pytestmark = pytest.mark.django_db(transaction=True)

SignIn = Callable[..., Watched]
TALK = [
    {"role": "system", "content": "You are the assistant of a garden shop."},
    {"role": "user", "content": "My tomatoes have spots."},
    {"role": "assistant", "content": "**How** often do you water them?"},
    {"role": "user", "content": "Once a week. What shall I do?"},
]
AREA = "textarea[name=text]"


def make_prompts(*texts: str) -> None:
    pool = services.create_pool(name="Support", guidelines="- Truth first.")
    rows = [{"messages": TALK}, *({"prompt": text} for text in texts)]
    assert services.import_prompts(pool, as_lines(*rows)).accepted == len(rows)


def open_page(sign_in: SignIn, user: User | None = None, **options: object) -> Watched:
    watched = sign_in(user or make_labeler(), **options)
    watched.open("/write/")
    expect(watched.page.locator("[data-characters]")).not_to_be_empty()
    return watched


def state(page: Page) -> object:
    return expect(page.locator("[data-save-state]"))


def copies(page: Page) -> int:
    """How many texts this browser keeps."""
    keys = "Object.keys(localStorage).filter(key => key.startsWith('podium:writing:'))"
    return int(page.evaluate(f"{keys}.length"))


def test_write_by_keyboard_alone_and_go_on_to_the_next(sign_in: SignIn) -> None:
    make_prompts("Name a tree.")
    page = open_page(sign_in).page
    expect(page.locator(AREA)).to_be_focused()
    assert page.locator(".role").all_inner_texts() == ["System", "User", "Assistant", "User"]
    expect(page.get_by_text("Truth first.")).to_be_visible()
    page.keyboard.type("Water 나무 😀 less")
    expect(page.locator("[data-characters]")).to_have_text("15")
    expect(page.locator("[data-words]")).to_have_text("3")
    page.keyboard.press("Enter")
    page.keyboard.type("and more often.")
    page.keyboard.press("Control+Enter")
    expect(page.locator("[data-messages]")).to_contain_text("Demonstration saved")
    expect(page.get_by_text("Name a tree.")).to_be_visible()
    assert Demonstration.objects.get().text == "Water 나무 😀 less\nand more often."


def test_the_area_grows_with_the_text(sign_in: SignIn) -> None:
    make_prompts()
    page = open_page(sign_in).page
    before = page.locator(AREA).bounding_box()
    page.locator(AREA).fill("line\n" * 20)
    after = page.locator(AREA).bounding_box()
    assert before is not None
    assert after is not None
    assert after["height"] > before["height"] + 100


def test_a_draft_survives_a_reload_and_another_browser(sign_in: SignIn) -> None:
    make_prompts()
    mina = make_labeler()
    page = open_page(sign_in, mina).page
    page.locator(AREA).fill("half a sentence")
    state(page).to_have_text("Draft saved")  # type: ignore[attr-defined]
    assert Writing.objects.get().draft == "half a sentence"
    page.reload()
    expect(page.locator(AREA)).to_have_value("half a sentence")
    other = open_page(sign_in, mina).page
    expect(other.locator(AREA)).to_have_value("half a sentence")


def test_without_a_network_the_text_is_kept_here_and_sent_later(sign_in: SignIn) -> None:
    make_prompts()
    watched = open_page(sign_in)
    page = watched.page
    page.context.set_offline(True)
    page.locator(AREA).fill("written offline")
    state(page).to_contain_text("No connection")  # type: ignore[attr-defined]
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("alert")).to_contain_text("Nothing is lost")
    # The browser is closed before the network is back.
    page.route("**/demonstrations/draft/", lambda route: route.abort())
    page.context.set_offline(False)
    page.reload()
    expect(page.locator(AREA)).to_have_value("written offline")
    state(page).to_contain_text("No connection")  # type: ignore[attr-defined]
    page.unroute("**/demonstrations/draft/")
    page.evaluate("dispatchEvent(new Event('online'))")
    state(page).to_have_text("Draft saved")  # type: ignore[attr-defined]
    assert Writing.objects.get().draft == "written offline"
    page.keyboard.press("Control+Enter")
    expect(page.locator("[data-messages]")).to_contain_text("Demonstration saved")
    assert copies(page) == 0
    watched.forgive("ERR_INTERNET_DISCONNECTED", "ERR_FAILED")


def test_where_both_changed_the_writer_decides(sign_in: SignIn) -> None:
    make_prompts()
    mina = make_labeler()
    watched = open_page(sign_in, mina)
    page = watched.page
    page.route("**/demonstrations/draft/", lambda route: route.abort())
    page.locator(AREA).fill("from this browser")
    state(page).to_contain_text("No connection")  # type: ignore[attr-defined]
    services.save_writing_draft(mina, Writing.objects.get().pk, text="from the other one")
    page.unroute("**/demonstrations/draft/")
    page.reload()
    expect(page.locator(AREA)).to_have_value("from the other one")
    page.get_by_role("button", name="Take the text of this browser").click()
    expect(page.locator(AREA)).to_have_value("from this browser")
    state(page).to_have_text("Draft saved")  # type: ignore[attr-defined]
    watched.forgive("ERR_FAILED")


def test_the_next_person_at_this_browser_sees_nothing_of_it(sign_in: SignIn) -> None:
    make_prompts()
    watched = open_page(sign_in)
    page = watched.page
    page.route("**/demonstrations/draft/", lambda route: route.abort())
    page.locator(AREA).fill("mina's own words")
    state(page).to_contain_text("No connection")  # type: ignore[attr-defined]
    page.unroute("**/demonstrations/draft/")
    page.locator(".menu summary").click()
    page.get_by_role("button", name="Sign out").click()
    make_labeler("noah")
    page.get_by_label("Username").fill("noah")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.goto(watched.server + "/write/")
    expect(page.locator(AREA)).to_have_value("")
    # The page that was left had a text to save, and nobody to save it for any more.
    watched.forgive("ERR_FAILED", "ERR_ABORTED", "401")


def test_a_second_tab_is_told_that_it_is_done(sign_in: SignIn) -> None:
    make_prompts("Name a tree.")
    watched = open_page(sign_in)
    page = watched.page
    other = page.context.new_page()
    other.goto(page.url)
    other.locator(AREA).fill("done there")
    other.keyboard.press("Control+Enter")
    expect(other.get_by_text("Name a tree.")).to_be_visible()
    page.locator(AREA).fill("too late")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("alert")).to_contain_text("already written for")
    expect(page.locator(AREA)).to_have_value("too late")
    assert Demonstration.objects.get().text == "done there"
    watched.forgive("409")


def test_a_lost_answer_is_asked_for_again_and_stored_once(sign_in: SignIn) -> None:
    make_prompts()
    watched = open_page(sign_in)
    page = watched.page
    page.locator(AREA).fill("once")
    state(page).to_have_text("Draft saved")  # type: ignore[attr-defined]

    def lose(route: object) -> None:
        route.fetch()  # type: ignore[attr-defined]
        route.abort()  # type: ignore[attr-defined]

    page.route(re.compile(r"/api/v1/demonstrations/$"), lose)
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("alert")).to_contain_text("Nothing is lost")
    assert Demonstration.objects.count() == 1
    page.unroute(re.compile(r"/api/v1/demonstrations/$"))
    page.keyboard.press("Control+Enter")
    expect(page.locator("[data-messages]")).to_contain_text("Demonstration saved")
    assert Demonstration.objects.count() == 1
    watched.forgive("ERR_FAILED", "409")


def test_preview_and_views_leave_what_is_written(sign_in: SignIn) -> None:
    make_prompts()
    page = open_page(sign_in).page
    page.locator(AREA).fill("**bold** " + " ".join(HOSTILE[:3]))
    page.get_by_role("button", name="Preview").click()
    expect(page.locator("[data-preview] strong")).to_have_text("bold")
    expect(page.locator(AREA)).to_be_hidden()
    page.get_by_role("button", name="Write", exact=True).click()
    expect(page.locator(AREA)).to_be_focused()
    page.get_by_role("button", name="Markdown").click()
    expect(page.locator("[data-brief] strong")).to_have_text("How")
    expect(page.locator(AREA)).to_have_value(re.compile("^\\*\\*bold"))
    page.reload()
    expect(page.locator("[data-brief] strong")).to_have_text("How")


def test_a_demonstration_is_changed_and_its_change_kept_while_it_is_written(
    sign_in: SignIn,
) -> None:
    make_prompts()
    page = open_page(sign_in).page
    page.locator(AREA).fill("first words")
    page.keyboard.press("Control+Enter")
    page.get_by_role("link", name="Your last demonstrations").click()
    page.get_by_role("link", name="Change").click()
    page.locator(AREA).fill("second words")
    state(page).to_have_text("Kept in this browser")  # type: ignore[attr-defined]
    page.reload()
    expect(page.locator(AREA)).to_have_value("second words")
    assert Demonstration.objects.get().text == "first words"
    page.keyboard.press("Control+Enter")
    expect(page.locator("[data-messages]")).to_contain_text("Your change is saved")
    assert Demonstration.objects.get().text == "second words"
    assert FormerText.objects.get().text == "first words"


def test_without_javascript_it_is_a_form(sign_in: SignIn) -> None:
    make_prompts("Name a tree.")
    page = sign_in(make_labeler(), java_script_enabled=False).open("/write/")
    page.locator(AREA).fill("by a form")
    page.get_by_role("button", name="Preview").click()
    expect(page.locator("[data-preview]")).to_contain_text("by a form")
    page.get_by_role("button", name="Save the draft").click()
    expect(page.locator("[data-messages]")).to_contain_text("Draft saved")
    page.get_by_role("button", name="Submit").click()
    expect(page.locator("[data-messages]")).to_contain_text("Demonstration saved")
    page.get_by_text("Skip this prompt…").click()
    page.get_by_label("It is upsetting or harmful").check()
    page.get_by_role("button", name="Skip it").click()
    expect(page.get_by_role("heading", name="Nothing to write for")).to_be_visible()
    assert Demonstration.objects.get().text == "by a form"


@pytest.mark.parametrize(
    "options", [{}, DARK, PHONE, PHONE | DARK], ids=["light", "dark", "phone", "phone-dark"]
)
def test_axe_finds_nothing_and_nothing_spills(sign_in: SignIn, options: dict[str, object]) -> None:
    make_prompts()
    page = open_page(sign_in, **options).page
    page.locator(AREA).fill("# A word " + "w" * 3000)
    page.evaluate("for (const fold of document.querySelectorAll('main details')) fold.open = true")
    assert findings(page) == []
    page.get_by_role("button", name="Preview").click()
    expect(page.locator("[data-preview] h3")).to_be_visible()
    assert findings(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_on_a_phone_the_prompt_comes_first_and_the_keyboard_stays_down(sign_in: SignIn) -> None:
    make_prompts()
    page = open_page(sign_in, **PHONE).page
    expect(page.get_by_text("My tomatoes have spots.")).to_be_in_viewport()
    expect(page.locator(AREA)).not_to_be_focused()
    page.locator(AREA).tap()
    page.keyboard.type("Less water.")
    page.get_by_role("button", name="Submit").tap()
    expect(page.get_by_role("heading", name="Nothing to write for")).to_be_visible()
    assert Demonstration.objects.get().text == "Less water."
