"""LaTeX as MathML. What latex2mathml cannot read, or hides something, is not a formula."""

from __future__ import annotations

import re
from html import escape, unescape
from xml.etree.ElementTree import Element

from latex2mathml.converter import convert_to_element

from labeling.rendering.invisible import hides_something

# The worst that was found takes latex2mathml some 0.01 s for so many characters.
MAX_CHARACTERS = 1_000
# latex2mathml walks a formula by recursion.
MAX_DEPTH = 40
# It expands macros without a bound, and shows nothing of an address.
_REFUSED = re.compile(r"\\(?:\w*command|\w*def|let|DeclareMathOperator|href|url|includegraphics)\b")

ELEMENTS = {
    "math", "menclose", "mfrac", "mi", "mmultiscripts", "mn", "mo", "mover", "mprescripts",
    "mroot", "mrow", "mspace", "msqrt", "mstyle", "msub", "msubsup", "msup", "mtable", "mtd",
    "mtext", "mtr", "munder", "munderover",
}  # fmt: skip
# No sizes and no colours: nothing in a formula may cover, shrink or hide what is beside it.
ATTRIBUTES = {
    "accent", "accentunder", "columnalign", "columnlines", "display", "displaystyle", "fence",
    "form", "largeop", "linethickness", "mathvariant", "movablelimits", "notation", "rowlines",
    "scriptlevel", "separator", "stretchy", "symmetric",
}  # fmt: skip
_VALUE = re.compile(r"[a-z0-9 -]{1,60}", re.IGNORECASE)
_SPACE = re.compile(r"(?:0?\.\d{1,4}|[012](?:\.\d{1,4})?)em")


def mathml(latex: str, *, block: bool) -> str | None:
    """The formula as a ``<math>`` element, or None where its source must do."""
    too_much = len(latex) > MAX_CHARACTERS or _depth(latex) > MAX_DEPTH
    if too_much or _REFUSED.search(latex) or hides_something(latex):
        return None
    try:
        tree = convert_to_element(latex, display="block" if block else "inline")
    except Exception:  # noqa: BLE001  (it raises IndexError, KeyError and others for broken LaTeX)
        return None
    text = "".join(tree.itertext())
    return None if hides_something(unescape(text)) else _html(tree)


def _depth(latex: str) -> int:
    depth = deepest = 0
    for brace in re.findall(r"[{}\[\]]|\\(?:left|begin|right|end)\b", latex):
        depth += 1 if brace in ("{", "[", "\\left", "\\begin") else -1
        deepest = max(deepest, depth)
    return deepest


def _html(element: Element) -> str:
    """The library's own serialiser lets text through as markup; this one escapes it."""
    inner = escape(unescape(element.text or ""), quote=False) + "".join(map(_html, element))
    if element.tag not in ELEMENTS:
        return f"<mrow>{inner}</mrow>"
    kept = "".join(f' {n}="{escape(v)}"' for n, v in element.items() if _is_kept(n, v))
    return f"<{element.tag}{kept}>{inner}</{element.tag}>"


def _is_kept(name: str, value: str) -> bool:
    if name == "width":
        return _SPACE.fullmatch(value) is not None
    return name in ATTRIBUTES and _VALUE.fullmatch(value) is not None
