"""What a hand does to a page: a mouse that drags, and a finger, which scrolls where it may."""

from __future__ import annotations

from playwright.sync_api import Page, expect

Point = tuple[float, float]


def middle(page: Page, place: str) -> Point:
    box = page.locator(place).bounding_box()
    assert box is not None, place
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def lift(page: Page, source: str) -> None:
    """Rest on the thing and pull until it comes along."""
    page.locator(source).hover()
    page.mouse.down()
    page.mouse.move(10, 400, steps=3)
    expect(page.locator(".carried")).to_be_visible()


def drag(page: Page, source: str, target: str) -> None:
    lift(page, source)
    page.mouse.move(*middle(page, target), steps=8)
    page.mouse.up()
    expect(page.locator(".carried")).to_have_count(0)


class Finger:
    """A finger as the browser's own input, so that it scrolls and cancels as a real one does."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.at: Point = (0, 0)
        self._session = page.context.new_cdp_session(page)

    def down(self, point: Point, *others: Point) -> None:
        self.at = point
        self._send("touchStart", point, *others)

    def move(self, point: Point, steps: int = 8) -> None:
        (x, y), (to_x, to_y) = self.at, point
        for step in range(1, steps + 1):
            part = step / steps
            self._send("touchMove", (x + (to_x - x) * part, y + (to_y - y) * part))
            self.page.wait_for_timeout(16)
        self.at = point

    def up(self) -> None:
        self._send("touchEnd")

    def cancel(self) -> None:
        self._send("touchCancel")

    def _send(self, kind: str, *points: Point) -> None:
        touches = [{"x": x, "y": y, "id": n} for n, (x, y) in enumerate(points)]
        self._session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touches})
