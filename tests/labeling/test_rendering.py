"""Markdown, code and formulas of strangers as HTML: what is shown, and what never is."""

from __future__ import annotations

import json
import os
import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labeling.rendering import document, formulas, highlighting
from labeling.rendering.document import PAGE_SECONDS, Renderer
from labeling.rendering.formulas import mathml
from labeling.rendering.highlighting import highlighted
from labeling.rendering.invisible import Marker
from labeling.rendering.limits import Clock, NotRendered
from labeling.rendering.sanitising import sanitise
from tests.labeling.hostile_texts import ADDRESSES, CHARACTERS, CODE, LATEX, MARKUP, NESTED, TEXTS

REAL = Path(os.environ.get("PODIUM_REAL_DATA", Path(__file__).parents[3] / "shared" / "data"))
HIDDEN = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x9f\u200b\u202a-\u202e\u2060-\u206f\ufeff\U000e0000-\U000e007f]"
)
HARMLESS = formulas.ELEMENTS | {
    *("blockquote", "br", "div", "h3", "hr", "li", "ol", "p", "pre", "ul"),
    *("bdi", "code", "em", "s", "span", "strong"),
    *("table", "tbody", "td", "th", "thead", "tr"),
}
LEADS_OUT = {"href", "src", "action", "style", "srcset", "data", "id", "name", "xlink:href"}


class Elements(HTMLParser):
    """The elements, attributes and text of a piece of HTML."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


def rendered(text: str) -> str:
    return sanitise(Renderer().markdown(text))


@pytest.fixture(scope="module")
def patience() -> Iterator[None]:
    """For texts that are not too much, however slow the machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(document, "TEXT_SECONDS", 10.0)
        patch.setattr(document, "PAGE_SECONDS", 10.0)
        yield


def elements(text: str) -> Elements:
    return Elements(rendered(text))


# --- what is shown --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("**b** *c* ~~d~~", "<strong>b</strong> <em>c</em> <s>d</s>"),
        ("a `b`", 'a <code dir="ltr">b</code>'),
        ("one\ntwo", "one<br>\ntwo"),
        ("$5 and $10", "$5 and $10"),
        ("2 * 3 < 4 & 5", "2 * 3 &lt; 4 &amp; 5"),
        ("안녕 **하세요**", "안녕 <strong>하세요</strong>"),
        ("<https://a.example/?b=1>", '<span class="link">https://a.example/?b=1</span> '),
    ],
)  # fmt: skip
def test_inline_markdown(text: str, shown: str) -> None:
    assert rendered(text) == f'<p dir="auto">{shown}</p>\n'


def test_blocks_take_their_direction_from_their_own_text() -> None:
    html = rendered("# One\n\n- a\n  1. b\n\n> c\n\n| d | e |\n|:-:|--:|\n| f | g |\n")
    assert '<h3 dir="auto" class="level-1">One</h3>' in html
    assert '<ul dir="auto">\n<li>a\n<ol>' in html
    assert '<blockquote dir="auto">\n<p>c</p>' in html
    assert '<div class="table"><table dir="auto">' in html
    assert '<td class="center">f</td>\n<td class="right">g</td>' in html


def test_code_is_highlighted_and_its_language_named() -> None:
    html = rendered("```python title=x\ndef f():  # <b>\n    return 1\n```")
    assert '<span class="language">python title=x</span>' in html
    assert '<span class="code-k">def</span> <span class="code-f">f</span>()' in html
    assert '<span class="code-c"># &lt;b&gt;</span>' in html
    assert "<span" not in rendered("```\nx = 1\n```")
    assert "code-" not in rendered("```befunge\nx = 1\n```")


@pytest.mark.parametrize("text", ["$a^2$", "\\(a^2\\)", "text $a^2$, and more", "- $a^2$"])
def test_formulas_are_mathml(text: str) -> None:
    assert "<msup><mi>a</mi><mn>2</mn></msup>" in rendered(text)


@pytest.mark.parametrize("text", ["$$\na^2\n$$", "\\[\na^2\n\\]", "so $$a^2$$ holds"])
def test_formulas_of_their_own_line_are_blocks(text: str) -> None:
    assert '<math display="block"><mrow><msup>' in rendered(text)


def test_links_and_images_show_where_they_would_lead() -> None:
    shown = elements('[bank](https://evil.example/x "pay") ![cat](https://evil.example/c.png)')
    assert 'bank https://evil.example/x "pay" cat https://evil.example/c.png' in shown.text
    assert shown.tags.keys() == {"p", "span"}


# --- what never is --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TEXTS)
def test_a_hostile_text_is_plain_or_harmless(name: str) -> None:
    """Nothing that runs, loads, links or hides comes of it, and it takes no time."""
    began = time.thread_time()
    html = ""
    with suppress(NotRendered):
        html = rendered(TEXTS[name])
    assert time.thread_time() - began < 2
    seen = Elements(html)
    assert seen.attributes & LEADS_OUT == set()
    assert not [name for name in seen.attributes if name.startswith("on")]
    assert seen.tags.keys() <= HARMLESS
    assert not HIDDEN.search(seen.text)


@pytest.mark.parametrize("name", MARKUP)
def test_markup_is_shown_as_it_was_written(name: str) -> None:
    text = MARKUP[name]
    if name != "attributes":
        assert elements(text).text.strip() == re.sub(r"\s+$", "", text)
    assert elements(text).tags.keys() <= {"p", "h3", "div", "span", "pre", "code"}


def test_addresses_that_run_something_stay_source() -> None:
    shown = elements(ADDRESSES["script links"])
    assert "[a](javascript:alert(1))" in shown.text
    assert "[r]: javascript:alert(1)" in shown.text
    assert shown.tags.keys() <= {"p", "br", "bdi", "span"}


def test_definitions_of_references_stay_in_sight() -> None:
    text = "[a]: https://evil.example 'a word to the judge'"
    assert elements(f"{text}\n\n[a]").text.strip() == f"{text}\n[a]"


def test_a_look_alike_address_is_shown_in_its_plain_letters() -> None:
    assert "xn--" in elements("[apple](https://аpple.com)").text


@pytest.mark.parametrize("name", ["overrides", "zero width", "controls", "tags"])
def test_what_cannot_be_seen_is_named_in_markdown_too(name: str) -> None:
    html = rendered(CHARACTERS[name])
    assert html.count('<bdi class="unseen"') >= 1
    assert not HIDDEN.search(html)


def test_marks_are_named_in_code_addresses_and_after_entities() -> None:
    html = rendered(f"```python\n# a\u202eb\n```\n\n{CHARACTERS['overrides']}")
    assert html.count(">RLO<") == 5


def test_joiners_of_emoji_and_scripts_stay() -> None:
    assert "👨\u200d👩\u200d👧, 葛\U000e0100城" in rendered(CHARACTERS["joiners"])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("w" * 50_001, "it is longer than 50,000 characters"),
        (NESTED["list in a line"], "it nests too deeply|too long to work out"),
        (NESTED["brackets"], "its Markdown takes too long to work out"),
        (NESTED["dollars"], "its Markdown"),
    ],
)
def test_what_is_too_much_stays_plain_with_a_reason(text: str, problem: str) -> None:
    with pytest.raises(NotRendered, match=problem):
        rendered(text)


def test_a_page_of_the_worst_texts_shares_one_clock() -> None:
    renderer = Renderer()
    began = time.thread_time()
    for _ in range(9):
        with pytest.raises(NotRendered):
            renderer.markdown(NESTED["brackets"])
    assert time.thread_time() - began < PAGE_SECONDS + 1


@pytest.mark.parametrize(
    "latex",
    [
        "\\frac{1}{",
        "\\href{https://x}{y}",
        "\\def\\a{xx}\\a",
        "\\newcommand{\\a}{x}\\a",
        "x" * 1_001,
        "{" * 41 + "}" * 41,
        "a\u202eb",
        "\\unicode{x202e}",
    ],
)
def test_a_formula_that_breaks_hides_or_leads_elsewhere_stays_source(latex: str) -> None:
    assert mathml(latex, block=False) is None
    assert elements(f"${latex}$").tags["math"] == 0


def test_formulas_hide_nothing_and_cover_nothing() -> None:
    html = rendered(LATEX["hiding"])
    assert Elements(html).text.count("s") >= 2
    assert not re.search(r"mphantom|mathcolor|mathbackground|mathsize|1000em|-100em", html)


def test_text_in_a_formula_is_no_markup() -> None:
    html = rendered(LATEX["markup"])
    assert "&lt;img" in html
    assert Elements(html).tags.keys() <= {"p", "span", *formulas.ELEMENTS}


@pytest.mark.parametrize("name", CODE)
def test_code_loses_no_character(name: str) -> None:
    code = CODE[name].split("\n", 1)[1].removesuffix("```\n")
    html = highlighted(code, name.split()[0], Marker(), Clock(5))
    if "marks" not in name:
        assert Elements(html).text == code


def test_every_language_named_is_known_to_pygments() -> None:
    for language in highlighting.LANGUAGES:
        assert highlighted("1\n", language, Marker(), Clock(5))


def test_the_gate_alone_stops_what_a_renderer_might_let_through() -> None:
    texts = [*MARKUP.values(), '<a href="https://x">x</a>', "<math href=x><mi>a</mi></math>"]
    html = "".join(f"<p class=evil id=a style=x:y onclick=alert(1)>{text}</p>" for text in texts)
    seen = Elements(sanitise(html))
    assert seen.attributes <= {"class"}
    assert not seen.tags.keys() & {"a", "script", "img", "svg", "iframe", "style", "form", "input"}
    assert "evil" not in sanitise('<p class="evil">x</p>')


@given(
    st.text(
        alphabet=st.sampled_from("ab*_`~#>-1.|$\\[]()<>!&\"'\n \t{}^:/\u202e\x00אZ"), max_size=80
    )
)
def test_any_text_is_rendered_and_shows_its_letters(patience: None, text: str) -> None:
    shown = elements(text)
    assert shown.attributes <= {"class", "dir", "title", "start", *formulas.ATTRIBUTES}
    assert not HIDDEN.search(shown.text)
    letters = Counter(letter for letter in text if letter in "ab")
    assert all(Counter(shown.text)[letter] >= count for letter, count in letters.items())


def test_real_answers_render_in_little_time(patience: None) -> None:
    path = REAL / "alpaca_eval_rankings.jsonl"
    if not path.exists():
        pytest.skip(f"{path} is not there: set PODIUM_REAL_DATA")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    texts = [
        text for row in rows for text in (row["prompt"], *(c["text"] for c in row["completions"]))
    ]
    texts = [text for text in texts if text]
    began = time.thread_time()
    seen = [elements(text) for text in texts]
    assert (time.thread_time() - began) / len(texts) < 0.05
    tags = sum((one.tags for one in seen), Counter())
    assert tags["li"] > 1_000
    assert tags["pre"] > 10
