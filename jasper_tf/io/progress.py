"""One line that tells how far long work has come."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable


class ProgressLine:
    """Work done, its share and the time left, on stderr: in place on a terminal, otherwise a line every ten seconds.

    May be advanced from several threads.

    Args:
        what: what is done ("reading headers").
        total: amount of all work; None or 0: not known, then no share and no time left.
        amount: writes an amount for people. Default: the number.
        done: amount that was there before; it does not count for the speed.
    """

    def __init__(self, what: str, total: int | None, amount: Callable[[int], str] = str, done: int = 0):
        self.what, self.total, self.done, self._amount, self._first = what, total or 0, done, amount, done
        self._began = self._shown = time.monotonic()
        self._lock = threading.Lock()
        self._drawn = False

    def advance(self, amount: int = 1) -> None:
        with self._lock:
            self.done += amount
            now, terminal = time.monotonic(), sys.stderr.isatty()
            if now - self._shown >= (0.2 if terminal else 10.0):
                self._shown = now
                self._drawn |= terminal
                print(self._line(now), end="\r" if terminal else "\n", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Clears the line of a terminal."""
        with self._lock:
            if self._drawn:
                print("\x1b[K", end="", file=sys.stderr, flush=True)
                self._drawn = False

    def __enter__(self) -> ProgressLine:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _line(self, now: float) -> str:
        line = f"{self.what}: {self._amount(self.done)}"
        new = self.done - self._first
        if self.total and new > 0:
            left = max(0, round((now - self._began) / new * (self.total - self.done)))
            clock = f"{left // 3600}:{left // 60 % 60:02d}:{left % 60:02d}"
            line += f" of {self._amount(self.total)}, {self.done / self.total:.0%}, {clock} left"
        return line + ("\x1b[K" if sys.stderr.isatty() else "")


def megabytes(size: int) -> str:
    """Bytes for people: "12.3 MB", "6.39 GB"."""
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
