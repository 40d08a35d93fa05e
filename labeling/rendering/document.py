"""Markdown as HTML, by markdown-it-py with rules that keep it bounded and harmless.

Nothing of the text gets lost on the way: HTML in it stays text, images and links show their
address and lead nowhere, and a text that nests too deeply or takes too long is not rendered at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.ruler import RuleOptionsType
from markdown_it.rules_block import StateBlock
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from markdown_it.utils import OptionsDict
from mdit_py_plugins.dollarmath import dollarmath_plugin

from labeling.rendering.formulas import mathml
from labeling.rendering.highlighting import highlighted
from labeling.rendering.invisible import Marker
from labeling.rendering.limits import Clock, NotRendered

# Some twenty screens; a browser lays out so much at once without a pause.
MAX_CHARACTERS = 50_000
MAX_HTML = 500_000
# A text of that length takes some 0.03 s, one full of code or formulas 0.1 s.
TEXT_SECONDS = 0.2
PAGE_SECONDS = 1.0
MAX_DEPTH = 40
# markdown-it drops what nests deeper than this without a word: MAX_DEPTH must come first.
_PARSER_DEPTH = 100
MAX_ADDRESS = 200
_CLOSING = {"\\(": "\\)", "\\[": "\\]"}


class Renderer:
    """Markdown for one page: all its texts together get ``PAGE_SECONDS``."""

    def __init__(self) -> None:
        self._page = Clock(PAGE_SECONDS)

    def markdown(self, text: str) -> str:
        """The text as HTML: for ``sanitising.sanitise``, never for a page.

        Raises:
            NotRendered: too long, too deep, too large, or too much work; the message says which.
        """
        if len(text) > MAX_CHARACTERS:
            # MAX_CHARACTERS in words: a message with a number in it has a translation of its own.
            raise NotRendered("it is longer than 50,000 characters")
        clock = Clock(min(TEXT_SECONDS, self._page.left))
        html = _parser.render(text.replace("\r\n", "\n"), {"clock": clock, "marker": Marker()})
        clock.check()
        if len(html) > MAX_HTML:
            raise NotRendered("its Markdown makes too large a page")
        return html


class _Html(RendererHTML):
    """Every rule escapes what it shows, through the text's ``Marker``."""

    def text(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: Any) -> str:
        env["clock"].check()
        return env["marker"].html(tokens[idx].content)

    def code_inline(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: Any) -> str:
        return f'<code dir="ltr">{env["marker"].html(tokens[idx].content)}</code>'

    def code_block(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: Any) -> str:
        return self.fence(tokens, idx, options, env)

    def fence(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: Any) -> str:
        info, marker = tokens[idx].info.strip(), env["marker"]
        caption = f'<span class="language">{marker.html(info)}</span>' if info else ""
        language = info.split(maxsplit=1)[0].lower() if info else ""
        code = highlighted(tokens[idx].content, language, marker, env["clock"])
        return f'<div class="code" dir="ltr">{caption}<pre><code>{code}</code></pre></div>\n'

    def image(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: Any) -> str:
        alt, source = env["marker"].html(tokens[idx].content), _address("src", tokens[idx], env)
        return f'<span class="image">{alt} {source}</span>'

    def link_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: Any) -> str:
        is_bare = tokens[idx].markup == "autolink"
        env.setdefault("links", []).append("" if is_bare else _address("href", tokens[idx], env))
        return '<span class="link">'

    def link_close(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: Any) -> str:
        return f"</span> {env['links'].pop()}"

    def heading_open(
        self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: Any
    ) -> str:
        # One level in the page's outline, six in looks: a text cannot break the outline.
        return f'<h3 dir="auto" class="level-{tokens[idx].tag[1]}">'

    def heading_close(
        self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: Any
    ) -> str:
        return "</h3>\n"

    def table_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: Any) -> str:
        return '<div class="table"><table dir="auto">\n'

    def table_close(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: Any) -> str:
        return "</table></div>\n"

    def math_inline(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: Any) -> str:
        return _formula(tokens[idx], env, block=tokens[idx].markup in ("$$", "\\["))

    math_inline_double = math_inline

    def math_block(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: Any) -> str:
        return f'<div class="formula">{_formula(tokens[idx], env, block=True)}</div>\n'

    def renderToken(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: Any) -> str:
        token = tokens[idx]
        if token.nesting == 1 and token.level == 0:
            token.attrSet("dir", "auto")
        align = str(token.attrs.pop("style", "")).removeprefix("text-align:")
        if align:
            token.attrSet("class", align)
        return super().renderToken(tokens, idx, options, env)


def _address(name: str, token: Token, env: Any) -> str:
    """Where a link or an image would lead, and its title, as text."""
    title = f' "{token.attrs["title"]}"' if "title" in token.attrs else ""
    address = f"{token.attrs.get(name, '')}{title}"
    shown = address if len(address) <= MAX_ADDRESS else address[:MAX_ADDRESS] + "…"
    return f'<span class="address" dir="ltr">{env["marker"].html(shown)}</span>'


def _formula(token: Token, env: Any, *, block: bool) -> str:
    env["clock"].check()
    html = mathml(token.content.strip(), block=block)
    if html:
        return f'<span class="formula">{html}</span>'
    closing = _CLOSING.get(token.markup, token.markup)
    source = env["marker"].html(token.markup + token.content + closing)
    return f'<span class="unread" dir="ltr">{source}</span>'


def _bounded_block(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """A rule that never matches: it stands first and watches over the work of the others."""
    state.env["clock"].check()
    if state.level > MAX_DEPTH:
        raise NotRendered("it nests too deeply")
    return False


def _bounded_inline(state: StateInline, silent: bool) -> bool:
    state.env["clock"].check()
    return False


def _bracketed_formula(state: StateInline, silent: bool) -> bool:
    """``\\(…\\)`` and ``\\[…\\]``, as many models write formulas."""
    markup = state.src[state.pos : state.pos + 2]
    if markup not in _CLOSING:
        return False
    end = state.src.find(_CLOSING[markup], state.pos + 2, state.posMax)
    if end == -1:
        return False
    if not silent:
        token = state.push("math_inline", "math", 0)
        token.content, token.markup = state.src[state.pos + 2 : end], markup
    state.pos = end + 2
    return True


def _make_parser() -> MarkdownIt:
    options = {"html": False, "breaks": True, "maxNesting": _PARSER_DEPTH}
    parser = MarkdownIt("commonmark", options)
    # "normalize" turns NUL into another character before anybody saw it; "reference" takes the
    # lines that define an address out of the text.
    parser.enable(["table", "strikethrough"]).disable(["normalize", "reference"])
    parser.use(
        dollarmath_plugin,
        allow_labels=False,
        allow_space=False,
        allow_digits=False,
        allow_blank_lines=False,
        double_inline=True,
    )
    parser.renderer = _Html(parser)
    everywhere: RuleOptionsType = {"alt": ["paragraph", "reference", "blockquote", "list"]}
    parser.block.ruler.before("table", "bounded", _bounded_block, everywhere)
    parser.inline.ruler.before("escape", "bracketed_formula", _bracketed_formula)
    parser.inline.ruler.before("text", "bounded", _bounded_inline)
    return parser


_parser = _make_parser()
