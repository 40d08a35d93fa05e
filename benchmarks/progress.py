"""How far a command of several phases has come: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import NoReturn, Self, TextIO

from tqdm import tqdm

# Where there is no terminal, a line at each such step of a phase.
LINE_EVERY = 0.25
BAR = "{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}"

# The share of the phase that is done, and a word on what is being done.
Tell = Callable[[float, str], None]


class Progress:
    """``phases``: every phase by name, in order, and the share of the whole that it takes."""

    def __init__(self, phases: Mapping[str, float], out: TextIO) -> None:
        self._phases = dict(phases)
        self._out = out
        self._begun = time.monotonic()
        self._before = 0.0
        self._bar = _bar(sum(phases.values()), out) if out.isatty() else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def say(self, text: str) -> None:
        """A line that stays."""
        if self._bar is not None:
            self._bar.write(text, file=self._out)
        else:
            self._out.write(f"{text}\n")
            self._out.flush()

    @contextmanager
    def phase(self, name: str) -> Iterator[Tell]:
        """The phases have to come in their order; one that is left counts as done."""
        number = list(self._phases).index(name) + 1
        title = f"[{number}/{len(self._phases)}] {name}"
        shown = 0.0

        def tell(share: float, what: str) -> None:
            nonlocal shown
            share = max(shown, min(1.0, share))
            if self._bar is not None:
                self._bar.set_description_str(f"{title}: {what}" if what else title, refresh=False)
                self._bar.n = self._before + share * self._phases[name]
                self._bar.refresh()
                shown = share
            elif share >= shown + LINE_EVERY:
                shown = share // LINE_EVERY * LINE_EVERY
                self.say(f"{title}: {what} {share:.0%}, {self._elapsed()}")

        if self._bar is None:
            self.say(f"{title}, {self._elapsed()}")
        tell(0.0, "")
        yield tell
        self._before += self._phases[name]
        if self._bar is not None:
            self._bar.n = self._before
            self._bar.refresh()

    def _elapsed(self) -> str:
        seconds = int(time.monotonic() - self._begun)
        return f"{seconds // 60}:{seconds % 60:02d}"


def _bar(total: float, out: TextIO) -> tqdm[NoReturn]:
    # Given, as the library shows nothing on a terminal that does not tell its size.
    columns, lines = shutil.get_terminal_size()
    return tqdm(total=total, file=out, bar_format=BAR, ncols=columns, nrows=lines, disable=False)
