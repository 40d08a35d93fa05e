"""How much work one page may make of rendering its texts."""

from __future__ import annotations

import time


class NotRendered(Exception):
    """A text stays plain; the message says why, to the reader."""


class Clock:
    """Seconds of this thread's own work: a busy machine makes no text too hard."""

    def __init__(self, seconds: float) -> None:
        self._end = time.thread_time() + seconds

    @property
    def left(self) -> float:
        return self._end - time.thread_time()

    def check(self) -> None:
        """Raises: NotRendered: the time is over."""
        if self.left <= 0:
            raise NotRendered("its Markdown takes too long to work out")
