"""Podium in Korean: chosen by a button, ranked by keyboard, announced; no English is left."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from labeling.models import Ranking, User
from tests.browser.conftest import MESSAGES, Watched, painted
from tests.browser.test_accessibility import findings
from tests.browser.world import ANSWERS, make_labeler, make_pool, stored_ranks

pytestmark = pytest.mark.django_db(transaction=True)

SignIn = Callable[..., Watched]
PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}
PATHS = [
    "/",
    "/rank/",
    "/rankings/",
    "/write/",
    "/demonstrations/",
    "/prompts/",
    "/prompts/new/",
    "/pools/{pool}/guidelines/",
    "/me/",
    "/preferences/",
    "/nowhere/",
]
# What stays as it is: names, keys, and what people or models wrote.
NOT_OURS = re.compile(
    r"(?<![A-Za-z])(Podium|mina|Support|Prompt [0-9]+|Truth first"
    r"|The (first|second|third|fourth) answer|English|Ctrl|Shift|Esc|Enter|Backspace|[A-Z])"
    r"(?![A-Za-z])"
)
# Every text and every label that a person may read or hear, folded or not.
WORDS = """[...document.querySelectorAll('body *')].flatMap(element =>
    element.closest('script, style, kbd') ? [] : [
        ...[...element.childNodes].filter(node => node.nodeType === 3).map(node => node.data),
        ...['aria-label', 'title', 'placeholder', 'data-full'].map(
            name => element.getAttribute(name) ?? ''),
    ])"""


def english_left(page: Page) -> list[str]:
    texts = (NOT_OURS.sub("", text).strip() for text in page.evaluate(WORDS))
    return [text for text in texts if re.search("[A-Za-z]{2,}", text)]


def speaks_korean(watched: Watched) -> Page:
    """The page, after the language was chosen in the menu."""
    page = watched.page
    page.locator("[data-menu] summary").click()
    page.get_by_role("button", name="한국어").click()
    expect(page.locator("html")).to_have_attribute("lang", "ko")
    return page


def test_rank_by_keyboard_in_korean(sign_in: SignIn) -> None:
    make_pool(ANSWERS, ANSWERS[::-1])
    watched = sign_in(make_labeler())
    speaks_korean(watched)
    assert User.objects.get().language == "ko"
    page = watched.open("/rank/")
    expect(page.locator("html")).to_have_attribute("dir", "ltr")
    said = page.locator("[data-announce]")
    for key, words in [
        ("2", "답변 A: 2위. 3개 남음."),
        ("1", "답변 B: 1위. 2개 남음."),
        ("=", "답변 C: 1위, B와 동점. 1개 남음."),
        ("4", "답변 D: 4위. 모두 배치했습니다."),
    ]:
        page.keyboard.press(key)
        expect(said).to_have_text(words)
    page.keyboard.press("u")
    expect(said).to_have_text("실행 취소: 답변 D: 순위판에서 뺐습니다.")
    page.keyboard.press("4")
    submit = page.get_by_role("button", name="제출")
    expect(submit).to_be_enabled()
    page.keyboard.press("Control+Enter")
    expect(page.locator(MESSAGES)).to_contain_text("순위를 저장했습니다")
    assert stored_ranks() == {"A": 2, "B": 1, "C": 1, "D": 4}
    assert Ranking.objects.get().status == "counted"


@pytest.mark.parametrize("options", [{}, PHONE], ids=["desktop", "phone"])
def test_nothing_is_left_in_english_and_nothing_spills(
    sign_in: SignIn, options: dict[str, object]
) -> None:
    pool = make_pool(ANSWERS)
    pool.takes_prompts = True
    pool.save()
    watched = sign_in(make_labeler(), **options)
    speaks_korean(watched)
    for path in PATHS:
        page = watched.open(path.format(pool=pool.pk))
        assert english_left(page) == [], path
        wider = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert wider <= 0, f"{path} is {wider} px wider than the window"
        assert findings(page) == [], path
    # Chromium reports the address that leads nowhere.
    watched.forgive("404")


def test_the_login_page_offers_both_languages(sign_in: SignIn) -> None:
    watched = sign_in(make_labeler())
    watched.page.context.clear_cookies()
    page = watched.open("/login/?next=/me/")
    page.get_by_role("button", name="한국어").click()
    page.wait_for_url(watched.server + "/login/?next=/me/")
    expect(page.get_by_role("heading", name="로그인")).to_be_visible()
    assert english_left(painted(page)) == []
    assert findings(page) == []
    page.get_by_role("button", name="English").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_the_language_is_chosen_without_javascript(sign_in: SignIn) -> None:
    speaks_korean(sign_in(make_labeler(), java_script_enabled=False))
    assert User.objects.get().language == "ko"


def test_korean_is_drawn_with_the_letters_that_podium_ships(sign_in: SignIn) -> None:
    page = speaks_korean(sign_in(make_labeler()))
    loaded = """document.fonts.ready.then(fonts =>
        [...fonts].filter(font => font.status === 'loaded').map(font => font.family))"""
    assert any("Pretendard" in family for family in page.evaluate(loaded))
    assert page.evaluate("""document.fonts.check("16px 'Pretendard Variable'", '답변')""")
