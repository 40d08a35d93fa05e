"""Which language a page speaks, and that its translation is whole."""

from __future__ import annotations

import re
import runpy
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.utils import translation

from labeling import errors, services
from labeling.forms import SKIP_REASONS
from labeling.models import Topic
from labeling.models.pool import INSTRUCTGPT_FLAGS

ROOT = Path(__file__).resolve().parent.parent.parent
MESSAGES = runpy.run_path(str(ROOT / "locale" / "messages.py"))
CATALOGUES = MESSAGES["CATALOGUES"]
KOREAN = "로그인"
NOT_THERE = f"assignments/{uuid4()}/heartbeat/"
PASSWORD = "a-long-Password-31"


@pytest.fixture
def mina(db: None) -> Any:
    return services.create_user(username="mina", password=PASSWORD, role="labeler")


def language_of(page: Any) -> str:
    found = re.search(r'<html lang="([^"]+)" dir="ltr"', page.content.decode())
    assert found
    return found[1]


# --- whose choice ---------------------------------------------------------------------------------


def test_a_browser_is_answered_in_its_own_language_or_in_english(db, client):
    assert language_of(client.get("/login/")) == "en"
    assert language_of(client.get("/login/", headers={"Accept-Language": "fr"})) == "en"
    page = client.get("/login/", headers={"Accept-Language": "ko-KR,ko;q=0.9,en;q=0.5"})
    assert language_of(page) == page["Content-Language"] == "ko"
    assert KOREAN in page.content.decode()
    assert {"Accept-Language", "Cookie"} <= {name.strip() for name in page["Vary"].split(",")}


def test_the_choice_on_the_login_page_is_kept_by_the_browser(db, client):
    back = client.post("/language/", {"language": "ko", "next": "/login/?next=/me/"})
    assert back.status_code == 302
    assert back["Location"] == "/login/?next=/me/"
    assert language_of(client.get("/login/", headers={"Accept-Language": "en"})) == "ko"


def test_the_choice_of_somebody_signed_in_is_kept_with_the_account(mina, client):
    client.force_login(mina)
    client.post("/language/", {"language": "ko", "next": "/"})
    mina.refresh_from_db()
    assert mina.language == "ko"
    elsewhere = Client(headers={"Accept-Language": "en"})
    elsewhere.force_login(mina)
    assert language_of(elsewhere.get("/")) == "ko"


def test_the_account_goes_before_the_cookie_of_a_shared_browser(mina, client):
    services.choose_language(mina, "en")
    client.post("/language/", {"language": "ko"})
    client.force_login(mina)
    assert language_of(client.get("/")) == "en"


def test_an_account_that_chose_nothing_keeps_nothing(mina, client):
    client.force_login(mina)
    assert language_of(client.get("/", headers={"Accept-Language": "ko"})) == "ko"
    mina.refresh_from_db()
    assert mina.language == ""


@pytest.mark.parametrize("language", ["", "xx", "ko-KP", "../ko", "k" * 500])
def test_an_unknown_language_is_refused(mina, client, language):
    client.force_login(mina)
    assert client.post("/language/", {"language": language}).status_code == 400
    mina.refresh_from_db()
    assert mina.language == ""


def test_a_language_that_is_no_longer_offered_falls_back(mina, client, settings):
    services.choose_language(mina, "ko")
    settings.LANGUAGES = [("en", "English")]
    translation.trans_real.get_languages.cache_clear()
    client.force_login(mina)
    assert language_of(client.get("/")) == "en"
    translation.trans_real.get_languages.cache_clear()


def test_the_choice_never_leads_to_another_site(client, db):
    for address in ("https://evil.example/", "//evil.example", "javascript:alert(1)"):
        back = client.post("/language/", {"language": "ko", "next": address})
        assert back["Location"] == "/"


def test_the_choice_needs_a_form_of_ours(mina):
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(mina)
    assert strict.post("/language/", {"language": "ko"}).status_code == 403
    assert strict.get("/language/").status_code == 405
    mina.refresh_from_db()
    assert mina.language == ""


def test_one_persons_language_is_not_the_next_ones(mina, client):
    services.choose_language(mina, "ko")
    client.force_login(mina)
    client.get("/")
    # Refused before anybody asks whose language it is.
    broken = Client().get("/login/?next=%00")
    assert broken.status_code == 400
    assert language_of(broken) == "en"


@pytest.mark.parametrize("address", ["/nowhere/", "/quality/"])
def test_pages_of_errors_are_translated(mina, client, address):
    services.choose_language(mina, "ko")
    client.force_login(mina)
    page = client.get(address)
    assert page.status_code in (403, 404)
    assert language_of(page) == "ko"
    assert "처음으로" in page.content.decode()


# --- programs -------------------------------------------------------------------------------------


def test_a_program_reads_english_whatever_its_account_chose(cast):
    services.choose_language(cast.ben.user, "ko")
    refusal = cast.ben.post(NOT_THERE, {"lease_token": str(uuid4())}).json()["error"]
    assert refusal["code"] == "not_found"
    assert refusal["message"].isascii()


def test_codes_stay_and_messages_follow_the_language(cast):
    asked = cast.ben.http.post(
        f"/api/v1/{NOT_THERE}",
        {"lease_token": str(uuid4())},
        content_type="application/json",
        headers={"Authorization": f"Bearer {cast.ben.token}", "Accept-Language": "ko"},
    )
    refusal = asked.json()["error"]
    assert refusal["code"] == "not_found"
    assert re.search("[가-힣]", refusal["message"])


def test_a_refusal_is_worded_in_the_language_of_who_asked():
    english = errors.PoolClosed()
    with translation.override("ko"):
        korean = errors.PoolClosed()
    assert english.message == errors.PoolClosed.message
    assert re.search("[가-힣]", korean.message)
    assert str(korean) == korean.message
    assert english.code == korean.code


# --- the catalogues -------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=CATALOGUES, ids=lambda path: path.parts[-3])
def catalogue(request: Any) -> Path:
    return request.param


def test_every_language_offered_has_a_catalogue(settings):
    offered = {code for code, _name in settings.LANGUAGES} - {"en"}
    assert offered == {path.parts[-3] for path in CATALOGUES}


def test_the_catalogue_has_every_message_of_the_code_and_no_other(catalogue):
    def asked(catalog: Any) -> set[tuple[Any, Any]]:
        return {(message.id, message.context) for message in catalog if message.id}

    gathered, kept = MESSAGES["gathered"](), MESSAGES["read"](catalogue)
    assert len(asked(gathered)) > 300
    assert asked(gathered) ^ asked(kept) == set(), "run: make messages"


def test_every_message_is_translated(catalogue):
    assert MESSAGES["untranslated"](MESSAGES["read"](catalogue)) == []


def test_what_is_compiled_is_what_is_written(catalogue):
    compiled = MESSAGES["as_mo"](MESSAGES["read"](catalogue))
    assert catalogue.with_suffix(".mo").read_bytes() == compiled, "run: make messages"


PLACEHOLDER = re.compile(r"%\(\w+\)[sd]|%[sd%]|\{\w*\}|</?\w+")


def test_placeholders_and_tags_survive_translation(catalogue):
    faults = []
    for message in MESSAGES["read"](catalogue):
        if not message.id:
            continue
        asked = message.id if isinstance(message.id, tuple) else (message.id,)
        # One form of a plural may leave its number out: "a day", "%(days)s days".
        wanted = {frozenset(PLACEHOLDER.findall(text)) for text in asked}
        for text in MESSAGES["strings"](message.string):
            if frozenset(PLACEHOLDER.findall(text)) not in wanted:
                faults.append((message.id, text))
    assert faults == []


def test_blanks_around_a_message_survive_translation(catalogue):
    for message in MESSAGES["read"](catalogue):
        texts = MESSAGES["strings"](message.string)
        asked = message.id if isinstance(message.id, str) else message.id[-1]
        if message.id:
            assert all(text.endswith("\n") == asked.endswith("\n") for text in texts), asked
            assert all(text[:1].isspace() == asked[:1].isspace() for text in texts), asked


def test_a_language_has_one_sentence_where_one_word_has_two_meanings():
    words = MESSAGES["words_of_template"](
        '{% translate "a" context "verb" %}{% blocktranslate count n=n trimmed %}'
        " {{ n }} 5% {% plural %} {{ n }} both {% endblocktranslate %}"
        '{{ x|default:_("none") }}{% translate "it\'s" %}'
    )
    assert [tuple(word) for word in words] == [
        ("a", None, "verb"),
        ("%(n)s 5%%", "%(n)s both", None),
        ("none", None, None),
        ("it's", None, None),
    ]


def test_what_refusals_say_is_gathered():
    source = "class Gone(Exception):\n    message = 'It went.'\nraise Gone('It ' 'is gone.', a=1)"
    words = MESSAGES["words_of_python"](source, {"Gone"})
    assert {word.id for word in words} == {"It went.", "It is gone."}


# --- nothing forgotten ----------------------------------------------------------------------------

# The same in every language.
NAMES = re.compile(r"\b(Podium|Kendall τ-b|Krippendorff α)")
# A block that fills an attribute of base.html.
CLASSES = re.compile(r"\{% block main_class %\}.*?\{% endblock main_class %\}")
SPOKEN = {"aria-label", "title", "placeholder", "alt", "aria-description", "aria-roledescription"}
TAG = re.compile(r"\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}", re.DOTALL)
TRANSLATED = re.compile(
    r"\{%\s*(comment|blocktranslate|blocktrans)\b.*?%\}.*?\{%\s*end\1\s*%\}", re.DOTALL
)
SENTENCE = re.compile(r"[A-Za-z]{2,}")


class Untranslated(HTMLParser):
    """Words of a template that stand outside every translation tag."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.inside: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.inside.append(tag)
        for name, value in attributes:
            if name in SPOKEN:
                self.look(value or "")

    def handle_endtag(self, tag: str) -> None:
        while self.inside and self.inside.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if not {"script", "style", "kbd", "code", "pre"} & set(self.inside):
            self.look(data)

    def look(self, text: str) -> None:
        if SENTENCE.search(NAMES.sub("", text)):
            self.found.append(" ".join(text.split()))


def untranslated_words(source: str) -> list[str]:
    parser = Untranslated()
    parser.feed(TAG.sub("·", TRANSLATED.sub("·", CLASSES.sub("·", source))))
    return parser.found


PAGES = sorted((ROOT / "templates").rglob("*.html"))


@pytest.mark.parametrize("template", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_page_holds_no_sentence_that_cannot_be_translated(template):
    assert untranslated_words(template.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "planted",
    [
        "<p>Plain words</p>",
        '<button aria-label="Plain words">{% icon "x" %}</button>',
        '<input placeholder="{% if x %}Plain words{% endif %}">',
        "{% if live %}Plain words{% else %}{% translate 'Other' %}{% endif %}",
        "<p>{{ count }} words</p>",
    ],
)
def test_words_outside_of_translation_are_found(planted):
    assert untranslated_words(planted)


@pytest.mark.parametrize(
    "sound",
    [
        '<p class="quiet small" data-x="plain words">{% translate "Plain words" %}</p>',
        "{# Plain words #}<p>{% blocktranslate trimmed %}Plain {{ words }}{% endblocktranslate %}",
        "<kbd>Ctrl</kbd> {{ x }} · 1–7",
        "<title>{% block title %}Podium{% endblock title %} · Podium</title>",
    ],
)
def test_markup_and_names_are_not_taken_for_words(sound):
    assert untranslated_words(sound) == []


# Two words in a text of a script's own are a sentence; an address, a class or an event has no blank
# between words.
SCRIPTED = re.compile(r"""(?:"|'|`)([A-Z][a-z']+(?: [\w']+)+[.?!…]?)(?:"|'|`)""")
COMMENT = re.compile(r"(?s:/\*.*?\*/)|^\s*//.*$", re.MULTILINE)
SCRIPTS = sorted((ROOT / "labeling" / "static" / "labeling" / "js").glob("*.js"))


def sentences_of(script: str) -> list[str]:
    return SCRIPTED.findall(COMMENT.sub("", script))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_holds_no_sentence_of_its_own(script):
    assert sentences_of(script.read_text(encoding="utf-8")) == []


def test_a_sentence_in_a_script_is_found():
    script = '/* Say "Draft saved" here. */\n // "Not here"\n say("saved"); note = "Draft saved.";'
    assert sentences_of(script) == ["Draft saved."]


# --- what is stored in English --------------------------------------------------------------------


def test_the_first_flags_topics_and_reasons_are_translated_and_others_stay(db):
    labels = [label for _name, label in INSTRUCTGPT_FLAGS] + list(SKIP_REASONS)
    labels += list(Topic.objects.values_list("label", flat=True))
    assert len(labels) >= 11 + 5 + 7
    with translation.override("ko"):
        assert [label for label in labels if translation.gettext(label) == label] == []
        Topic.objects.create(name="spoilers", label="Spoilers")
        shown = [str(topic) for topic in Topic.objects.all()]
    assert "Spoilers" in shown
    assert "폭력" in shown


def test_the_admin_is_translated_for_whoever_chose_so(client, db):
    ada = services.create_user(username="ada", password=None, role="admin")
    services.choose_language(ada, "ko")
    client.force_login(ada)
    for address in ("/admin/", "/admin/labeling/pool/", "/admin/labeling/prompt/"):
        page = client.get(address).content.decode()
        assert "작업 풀" in page
        assert "Use cases" not in page
