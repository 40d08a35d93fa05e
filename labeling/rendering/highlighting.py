"""Code with its words in colours, by Pygments' lexers and classes of our own."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from pygments.lexers import get_lexer_by_name
from pygments.token import Token, _TokenType

from labeling.rendering.invisible import Marker
from labeling.rendering.limits import Clock, NotRendered

# A lexer's regular expression cannot be interrupted: what it is given is bounded instead.
MAX_CHARACTERS = 10_000
MAX_LINE = 500
SECONDS = 0.1
# Lexers whose worst case on such a text was measured; others leave the code as it is.
LANGUAGES = {
    "bash", "c", "c++", "cpp", "c#", "csharp", "css", "diff", "go", "haskell", "html", "ini",
    "java", "javascript", "js", "json", "jsx", "kotlin", "lua", "php", "py", "python", "r",
    "ruby", "rust", "scala", "sh", "shell", "sql", "swift", "toml", "ts", "typescript",
    "xml", "yaml",
}  # fmt: skip
CLASSES = {
    Token.Comment: "c",
    Token.Keyword: "k",
    Token.Literal.String: "s",
    Token.Literal.Number: "m",
    Token.Name.Function: "f",
    Token.Name.Class: "f",
    Token.Name.Decorator: "f",
    Token.Name.Tag: "k",
    Token.Name.Attribute: "f",
    Token.Generic.Inserted: "s",
    Token.Generic.Deleted: "c",
}


def highlighted(code: str, language: str, marker: Marker, clock: Clock) -> str:
    """The code as HTML: spans of ``CLASSES`` around escaped text; plain where it is too much."""
    spans = _spans(code, language, clock) if _is_small(code) else []
    if "".join(text for _, text in spans) != code:
        return marker.html(code)
    return "".join(
        f'<span class="code-{name}">{marker.html(text)}</span>' if name else marker.html(text)
        for name, text in spans
    )


def _is_small(code: str) -> bool:
    return len(code) <= MAX_CHARACTERS and max(map(len, code.split("\n"))) <= MAX_LINE


def _spans(code: str, language: str, clock: Clock) -> list[tuple[str, str]]:
    """Class and text, neighbours of one class together; nothing where it stays plain."""
    if language not in LANGUAGES:
        return []
    lexer = get_lexer_by_name(language, stripnl=False, ensurenl=False)
    try:
        named = list(_named(lexer.get_tokens(code), Clock(min(SECONDS, clock.left))))
    except NotRendered:
        return []
    return [
        (name, "".join(text for _, text in same))
        for name, same in itertools.groupby(named, key=lambda pair: pair[0])
    ]


def _named(tokens: Iterator[tuple[_TokenType, str]], clock: Clock) -> Iterator[tuple[str, str]]:
    for kind, text in tokens:
        clock.check()
        yield next((CLASSES[k] for k in reversed(kind.split()) if k in CLASSES), ""), text
