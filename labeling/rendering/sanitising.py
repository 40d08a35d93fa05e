"""The last gate: whatever comes of Markdown, only this reaches the page."""

from __future__ import annotations

import nh3

from labeling.rendering import formulas, highlighting

_BLOCKS = {"blockquote", "div", "h3", "hr", "li", "ol", "p", "pre", "table", "tbody", "td", "th",
           "thead", "tr", "ul"}  # fmt: skip
_INLINE = {"bdi", "br", "code", "em", "s", "span", "strong"}
_CLASSES = {
    "bdi": {"unseen"},
    "div": {"code", "formula", "table"},
    "h3": {f"level-{level}" for level in range(1, 7)},
    "span": {"address", "formula", "image", "language", "link", "unread"}
    | {f"code-{name}" for name in highlighting.CLASSES.values()},
    "td": {"center", "left", "right"},
    "th": {"center", "left", "right"},
}
_DIRECTED = {"blockquote", "div", "h3", "ol", "p", "pre", "table", "ul", "span", "code"}

_gate = nh3.Cleaner(
    tags=_BLOCKS | _INLINE | formulas.ELEMENTS,
    attributes={
        **{tag: {"dir"} for tag in _DIRECTED},
        **{tag: formulas.ATTRIBUTES | {"width"} for tag in formulas.ELEMENTS},
        "bdi": {"title"},
        "ol": {"dir", "start"},
    },
    allowed_classes=_CLASSES,
    # No element that is let through takes an address.
    url_schemes=set(),
    link_rel=None,
)


def sanitise(html: str) -> str:
    """The HTML without any element, attribute or class that is not on the list.

    Nothing on the list runs, loads, links, or takes an address or a style.
    """
    return _gate.clean(html)
