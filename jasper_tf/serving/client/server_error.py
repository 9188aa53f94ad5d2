"""What can go wrong between a client and a server, and what is tried again."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable
from typing import TypeVar

from jasper_tf.errors import UserError

_Answer = TypeVar("_Answer")


class ServerError(UserError):
    """A request that got no answer; one line that begins with the server.

    unavailable: nobody answered there. Only such a request is sent again: it was not worked on, or its answer is lost,
        and recognising twice does no harm. Everything else would fail again, or cost the server its work twice.
    concerns_all: no other request to this server can do better (an unknown model, say).
    """

    def __init__(self, message: str, unavailable: bool = False, concerns_all: bool = False):
        super().__init__(message)
        self.unavailable = unavailable
        self.concerns_all = concerns_all


_SAID_LENGTH = 300


def said_by_server(text: str) -> str:
    """A server's words in one line of bounded length.

    Of a failed check in the graph only what it says, not which operation said it.
    """
    line = " ".join(text[: 100 * _SAID_LENGTH].split())
    failed = re.search(r"assertion failed: \[(.*?)\](?: \[\[\{\{|$)", line)
    said = failed.group(1).replace("] [", " ") if failed else line
    return said if len(said) <= _SAID_LENGTH else f"{said[:_SAID_LENGTH]} ..."


class BackOff:
    """Waits between tries: "full jitter", uniform from 0 to min(longest_s, first_s · 2^n) before try n + 2.

    Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015: clients that failed together do
    not come back together.

    Args:
        retries: tries after the first one.
        first_s: bound of the first wait, seconds.
        longest_s: bound of every wait, seconds.
        seed: of the jitter; None: another one each time.
    """

    def __init__(self, retries: int, first_s: float = 0.5, longest_s: float = 10.0, seed: int | None = None):
        self.retries = retries
        self.first_s = first_s
        self.longest_s = longest_s
        self._random = random.Random(seed)

    def wait_s(self, tried: int) -> float:
        """How long to wait after `tried` tries (1, 2, ...)."""
        return self._random.uniform(0.0, min(self.longest_s, self.first_s * 2 ** min(tried - 1, 62)))

    def call(self, request: Callable[[], _Answer]) -> _Answer:
        """`request()`, again while it raises a ServerError that is `unavailable` and tries are left.

        Raises:
            ServerError: the last one; it says how often it was tried.
        """
        for tried in range(1, self.retries + 2):
            try:
                return request()
            except ServerError as error:
                if not error.unavailable:
                    raise
                if tried > self.retries:
                    times = "once" if tried == 1 else f"{tried} times"
                    raise ServerError(f"{error}; tried {times}", unavailable=True) from None
            time.sleep(self.wait_s(tried))
        raise AssertionError("unreachable")
