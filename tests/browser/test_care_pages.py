"""Pages that look after people: by keyboard, without scripts, on a phone, in the dark, for axe."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from labeling import services
from labeling.execution.quality import compute_next_quality
from labeling.models import Adjudication, Assignment, Pool, Topic, User
from tests.browser.conftest import Watched
from tests.browser.test_accessibility import DARK, PHONE, findings
from tests.browser.world import ANSWERS, make_labeler, make_pool

pytestmark = pytest.mark.django_db(transaction=True)

SignIn = Callable[..., Watched]
LOOKS = pytest.mark.parametrize("options", [{}, PHONE | DARK], ids=["desktop", "phone-dark"])


def rank(user: User, pool: Pool, *, upside_down: bool = False) -> None:
    """Rank the user's next task by the numbers of its completions, or the other way round."""
    given = services.lease_next(user, pool=pool)
    assert given is not None
    last = len(given.shown_order)
    ranks = {
        alias: last - number if upside_down else number + 1
        for alias, number in given.number_of_alias.items()
    }
    services.submit_ranking(
        user, given.pk, lease_token=given.lease_token, submission_id=uuid.uuid4(), ranks=ranks,
        note="See the second answer.",
    )  # fmt: skip


@pytest.fixture
def disputed() -> Pool:
    """Twelve tasks on which Mina and Joon never agree, and figures of them."""
    pool = make_pool(*[ANSWERS] * 12, overlap=2)
    mina, joon = make_labeler("mina"), make_labeler("joon")
    for _ in range(12):
        rank(mina, pool)
        rank(joon, pool, upside_down=True)
    assert compute_next_quality()
    return pool


def sensitive_pool() -> Pool:
    pool = make_pool(ANSWERS, ANSWERS, name="Sensitive")
    topic, _ = Topic.objects.get_or_create(name="violence", defaults={"label": "Violence"})
    Topic.objects.filter(pk=topic.pk).update(is_sensitive=True)
    topic.prompts.set(pool.prompts.all())
    return pool


def no_sideways(page: Page) -> None:
    width = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert width[0] <= width[1], width


@LOOKS
def test_axe_finds_nothing_and_nothing_spills(
    sign_in: SignIn, disputed: Pool, options: dict[str, object]
) -> None:
    topic, _ = Topic.objects.get_or_create(name="violence", defaults={"label": "Violence"})
    Topic.objects.filter(pk=topic.pk).update(is_sensitive=True)
    task = disputed.prompts.first().tasks.get()
    topic.prompts.add(task.prompt)
    watched = sign_in(make_labeler("rob", "reviewer"), **options)
    for path in (
        "/", "/me/", "/preferences/", "/quality/", f"/pools/{disputed.pk}/quality/",
        "/review/disagreements/", f"/review/disagreements/{task.pk}/",
    ):  # fmt: skip
        page = watched.open(path)
        assert findings(page) == [], path
        no_sideways(page)
        page.evaluate(
            "for (const one of document.querySelectorAll('main details')) one.open = true"
        )
        assert findings(page) == [], path
        no_sideways(page)


@LOOKS
def test_a_labelers_own_page_passes_axe(
    sign_in: SignIn, disputed: Pool, options: dict[str, object]
) -> None:
    page = sign_in(User.objects.get(username="mina"), **options).open("/me/")
    expect(page.get_by_role("row", name="Rankings")).to_contain_text("12")
    expect(page.get_by_role("img", name="12 in all")).to_be_visible()
    assert findings(page) == []
    no_sideways(page)


def test_a_reviewer_decides_by_keyboard(sign_in: SignIn, disputed: Pool) -> None:
    page = sign_in(make_labeler("rob", "reviewer")).open("/review/disagreements/")
    decide = page.get_by_role("link", name="Decide: Prompt 1", exact=True)
    decide.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Decide")).to_be_visible()
    expect(page.get_by_role("row", name="Labeler 1")).to_be_visible()
    expect(page.get_by_text("mina", exact=True)).to_have_count(0)
    for alias, rank_ in zip("ABCD", "1224", strict=True):
        page.get_by_label(f"Your rank {alias}").focus()
        page.keyboard.type(rank_)
    page.keyboard.press("Tab")
    page.get_by_label("Why this order").focus()
    page.keyboard.type("The sources say so.")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("[data-messages]")).to_contain_text("Decided")
    decision = Adjudication.objects.get()
    assert sorted(decision.items.values_list("rank", flat=True)) == [1, 2, 2, 4]
    page.get_by_role("link", name="Read: Prompt 1", exact=True).click()
    expect(page.get_by_role("row", name="mina")).to_be_visible()


def test_preferences_and_decisions_need_no_script(sign_in: SignIn, disputed: Pool) -> None:
    rob = make_labeler("rob", "reviewer")
    watched = sign_in(rob, java_script_enabled=False)
    page = watched.open("/preferences/")
    page.get_by_role("radio", name="Dark").check()
    page.get_by_label("Propose a break after").select_option("90")
    page.get_by_label("Prompts on sensitive topics a day").fill("2")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Saved.")).to_be_visible()
    rob.refresh_from_db()
    assert (rob.break_minutes, rob.daily_sensitive_limit) == (90, 2)
    page.goto(page.url.replace("/preferences/", "/review/disagreements/"))
    page.get_by_role("link", name="Decide: Prompt 1", exact=True).click()
    page.get_by_role("button", name="Store the decision").click()
    expect(page.get_by_text("This answer still needs a rank.")).to_have_count(4)
    for alias in "ABCD":
        page.get_by_label(f"Your rank {alias}").select_option("1")
    page.get_by_label("Why this order").fill("All the same.")
    page.get_by_role("button", name="Store the decision").click()
    expect(page.get_by_text("What the labelers did stays as it is.")).to_be_visible()
    assert Adjudication.objects.get().reason == "All the same."
    assert all("422" in problem for problem in watched.problems)
    watched.problems.clear()


def test_a_refused_preference_stands_beside_its_field_and_the_rest_is_kept(
    sign_in: SignIn, disputed: Pool
) -> None:
    watched = sign_in(User.objects.get(username="mina"))
    page = watched.open("/preferences/")
    page.get_by_label("Propose a break after").select_option("30")
    page.get_by_label("Prompts on sensitive topics a day").fill("-4")
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".field-error")).to_have_count(1)
    expect(page.get_by_label("Propose a break after")).to_have_value("30")
    # Chromium tells every answer that is no success.
    assert all("422" in problem for problem in watched.problems)
    watched.problems.clear()


@pytest.mark.parametrize("options", [{}, {"java_script_enabled": False}], ids=["script", "plain"])
def test_sensitive_texts_are_shown_when_asked_for_by_keyboard(
    sign_in: SignIn, options: dict[str, object]
) -> None:
    sensitive_pool()
    page = sign_in(make_labeler(), **options).open("/rank/")
    texts = [page.get_by_text(ANSWERS[0], exact=True).first, page.get_by_text("Prompt 1").first]
    veils = page.locator("summary", has_text="Sensitive: Violence")
    expect(veils).to_have_count(5)
    for text in texts:
        expect(text).to_be_hidden()
    veils.first.focus()
    page.keyboard.press("Enter")
    if options:
        expect(texts[0]).to_be_hidden()
        page.locator("article summary", has_text="Sensitive").first.click()
    # With a script, who reveals one text of a prompt has revealed all of it.
    shown = page.locator("[data-veil][open]")
    expect(shown).to_have_count(2 if options else 5)
    for text in texts if not options else texts[1:]:
        expect(text).to_be_visible()


@LOOKS
def test_a_veiled_ranking_page_passes_axe_and_ranks_by_keyboard(
    sign_in: SignIn, options: dict[str, object]
) -> None:
    sensitive_pool()
    page = sign_in(make_labeler(), **options).open("/rank/")
    expect(page.locator("[data-veil]")).to_have_count(5)
    assert findings(page) == []
    no_sideways(page)
    for key in "1234":
        page.keyboard.press(key)
    # The page goes on before the server has answered.
    with page.expect_response("**/submit/"):
        page.keyboard.press("Control+Enter")
    # The next prompt is covered anew.
    expect(page.get_by_text("Prompt 2").first).to_be_hidden()
    expect(page.locator("[data-veil]:not([open])")).to_have_count(5)
    assert Assignment.objects.filter(state="submitted").count() == 1


def test_a_break_is_proposed_in_a_corner_and_takes_nothing_away(sign_in: SignIn) -> None:
    make_pool(ANSWERS, ANSWERS)
    user = make_labeler()
    User.objects.filter(pk=user.pk).update(break_minutes=30)
    page = sign_in(user).open("/preferences/")
    state = '{"worked": 1799000, "active": %d, "reminded": 0}'
    page.evaluate(
        "state => localStorage.setItem('at-work', state.replace('%d', Date.now() - 30000))", state
    )
    page = page.context.pages[0]
    page.goto(page.url.replace("/preferences/", "/rank/"))
    reminder = page.locator("[data-breaks]")
    expect(reminder).to_contain_text("30 minutes")
    expect(page.locator(".break-words :focus")).to_have_count(0)
    assert findings(page) == []
    # Work goes on by keyboard as if nothing had happened.
    page.keyboard.press("1")
    expect(page.locator("[data-rank='1'] .chip")).to_have_count(1)
    reminder.get_by_role("button", name="Not now").click()
    expect(reminder.locator(".break-words")).to_have_count(0)
    page.reload()
    expect(page.locator("[data-breaks]")).to_be_attached()
    expect(page.locator(".break-words")).to_have_count(0)


def test_figures_are_read_as_a_table_and_asked_for_anew(sign_in: SignIn, disputed: Pool) -> None:
    page = sign_in(make_labeler("rob", "reviewer")).open(f"/pools/{disputed.pk}/quality/")
    row = page.get_by_role("row", name="mina")
    expect(row).to_contain_text("0%")
    expect(row).to_contain_text("−1.00")
    page.get_by_role("button", name="Compute anew").click()
    expect(page.get_by_role("button", name="Asked for")).to_be_disabled()
    assert compute_next_quality()
    page.reload()
    expect(page.get_by_role("button", name="Compute anew")).to_be_enabled()
