"""How far a check has come, on stderr."""

from __future__ import annotations

import sys
import time


class CheckProgress:
    """Share done and time left: in place on a terminal, otherwise a line every ten seconds.

    Args:
        what: what is being done, such as "reading sound".
        total: in any unit; `step` counts in the same.
    """

    def __init__(self, what: str, total: float):
        self.what = what
        self.total = total
        self._done = 0.0
        self._began: float | None = None
        self._in_place = sys.stderr.isatty()

    def step(self, amount: float) -> None:
        now = time.monotonic()
        if self._began is None:
            # What was done before the first step, such as imports, says nothing of the steps.
            self._began = self._shown = now
        else:
            self._done += amount
        if now - self._shown < (0.2 if self._in_place else 10.0) or not self._done:
            return
        self._shown = now
        share = min(1.0, self._done / max(self.total, self._done))
        left_s = round((now - self._began) * (1 / share - 1))
        line = f"{self.what}: {share:.0%}, {left_s // 3600}:{left_s // 60 % 60:02d}:{left_s % 60:02d} left"
        print(f"\r{line}\x1b[K" if self._in_place else line, end="" if self._in_place else "\n", file=sys.stderr)
        sys.stderr.flush()

    def end(self) -> None:
        """Clears the line on a terminal."""
        if self._in_place:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
