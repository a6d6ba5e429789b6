"""A line that says how far a long exploration is, where somebody looks at it."""

from __future__ import annotations

import sys
import time
from typing import Final, Self, TextIO

__all__ = ["Progress"]

AFTER: Final = 1.0  # seconds: what is over sooner needs no line
EVERY: Final = 0.1
WIDTH: Final = 24


class Progress:
    """One line on a terminal, written again and again; nothing where there is no terminal.

    Args:
        total: how much there is to do.
        what: what is counted, in the plural.
        stream: where to write; standard error by default.
        shown: whether to write at all; by default, if `stream` is a terminal.
    """

    def __init__(self, total: int, what: str, *, stream: TextIO | None = None, shown: bool | None = None) -> None:
        self._total = total
        self._what = what
        self._stream: TextIO = stream if stream is not None else sys.stderr
        self._shown: bool = self._stream.isatty() if shown is None else shown
        self._began = self._last = time.monotonic()
        self._drawn = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._drawn:
            self._stream.write("\r\x1b[K")
            self._stream.flush()

    def at(self, done: int, detail: str = "") -> None:
        """Say how far it is."""
        if not self._shown:
            return
        now = time.monotonic()
        if now - self._began < AFTER or now - self._last < EVERY:
            return
        self._last = now
        self._drawn = True
        full = WIDTH * done // max(1, self._total)
        left = (now - self._began) / max(1, done) * (self._total - done)
        bar = "█" * full + "░" * (WIDTH - full)
        text = f"{bar} {done:,} of {self._total:,} {self._what}, {_duration(left)} left"
        self._stream.write(f"\r{text}{', ' + detail if detail else ''}\x1b[K")
        self._stream.flush()


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02} min" if minutes else f"{rest} s"
