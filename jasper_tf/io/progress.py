"""Progress of long work: a bar on a terminal, elsewhere a line every 30 s."""

from __future__ import annotations

import atexit
import logging
import sys
import threading
import time
from collections.abc import Callable

from jasper_tf.errors import printable, shorten

logger = logging.getLogger("jasper_tf")
"""Takes the messages of long work, so that a program can silence or redirect them; see `log_to_stderr`."""

LOG_EVERY_S = 30.0
_DRAW_EVERY_S = 0.2
_LONGEST_NAME = 20
"""Characters: with the amounts and the bar the time left fits into 80 columns."""


class Progress:
    """Work done, its share and the time left: a bar on stderr if that is a terminal, otherwise `logger.info`.

    May be advanced from several threads.

    Args:
        what: what is done ("reading headers").
        total: amount of all work; None or 0: not known, then no share and no time left.
        amount: formats an amount. Default: the number.
        done: amount that was done before; it does not count for the speed.
        note: returns a text to show after the time left; cut at the width of the terminal.
        left_s: returns the seconds left. Default: by the speed of this work.

    `total` may be set when it becomes known.
    """

    def __init__(
        self,
        what: str,
        total: int | None,
        amount: Callable[[int], str] = str,
        done: int = 0,
        note: Callable[[], str] = str,
        left_s: Callable[[], float] | None = None,
    ):
        # Here, since it takes a fifth of the time of a `--help`.
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bars
        from rich.table import Column

        self.what, self.total, self.done, self._amount = printable(what), total or 0, done, amount
        self._note, self._left_s = note, left_s
        self._lock = threading.Lock()
        self._began = self._shown = self._logged = time.monotonic()
        self._first = done
        console = Console(stderr=True)
        self._bars = Bars(
            TextColumn("{task.fields[head]}", markup=False),
            BarColumn(bar_width=10),
            TextColumn("{task.fields[left]}", markup=False),
            TextColumn("{task.fields[note]}", markup=False, table_column=Column(ratio=1, no_wrap=True)),
            console=console,
            auto_refresh=False,  # a refresh thread would take the GIL from those that read
            expand=True,
            transient=True,
            redirect_stdout=sys.stdout.isatty(),  # a redirected stdout must not go through the terminal of stderr
            disable=not console.is_interactive,
        )
        self._task = self._bars.add_task("", total=self.total or None, completed=done, head="", left="", note="")

    def advance(self, amount: int = 1) -> None:
        """Adds to the work done."""
        with self._lock:
            self.done += amount
            now = time.monotonic()
            if now - self._shown < _DRAW_EVERY_S:
                return
            self._shown = now
            self._bars.update(self._task, completed=self.done, total=self.total or None)
            if not self._bars.disable:
                self._draw()
            elif now - self._logged >= LOG_EVERY_S:
                self._logged = now
                parts = self._head(self.what), *self._share_and_left(), self._note()
                logger.info("%s", ", ".join(filter(None, parts)))

    def skip(self, amount: int) -> None:
        """Adds work that was found done: it does not count for the speed."""
        with self._lock:
            self.done += amount
            self._first += amount

    def clear(self) -> None:
        """Takes the bar off the terminal, for output of the caller's; the next `advance` draws it again."""
        with self._lock:
            self._bars.stop()
            atexit.unregister(self._bars.stop)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        self.clear()

    def _draw(self) -> None:
        head = self._head(shorten(self.what, _LONGEST_NAME))
        self._bars.update(self._task, head=head, left=" ".join(self._share_and_left()), note=self._note())
        if not self._bars.live.is_started:
            atexit.register(self._bars.stop)  # rich hides the cursor
            self._bars.start()
        self._bars.refresh()

    def _head(self, what: str) -> str:
        of = f" of {self._amount(self.total)}" if self.total else ""
        return f"{what}: {self._amount(self.done)}{of}"

    def _share_and_left(self) -> list[str]:
        texts = [f"{self.done / self.total:.0%}"] if self.total else []
        if self._left_s:
            texts.append(f"{clock(self._left_s())} left")
        elif self.total and (new := self.done - self._first) > 0:
            texts.append(f"{clock((self._shown - self._began) / new * (self.total - self.done))} left")
        return texts


def clock(seconds: float) -> str:
    """Seconds as H:MM:SS."""
    whole = max(0, round(seconds))
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def megabytes(size: int) -> str:
    """Formats a number of bytes: "12.3 MB", "6.39 GB"."""
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
