"""Errors between client and server, and retries."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable
from typing import TypeVar

from jasper_tf.errors import UserError

_Answer = TypeVar("_Answer")


class ServerError(UserError):
    """A failed request; one line that begins with the server.

    Attributes:
        unavailable: the server did not respond. Only such a request is retried: it was not processed, or its response
            was lost, and recognition may be repeated. Others would fail again, or double the server's load.
        concerns_all: every request to this server would fail (with an unknown model, for example).
    """

    def __init__(self, message: str, unavailable: bool = False, concerns_all: bool = False):
        super().__init__(message)
        self.unavailable = unavailable
        self.concerns_all = concerns_all


def foreign_model(server: str, model: str, reason: str) -> ServerError:
    """The error of a model whose answers are not those of our export."""
    return ServerError(f"{server}: model {model!r} is not an export of this package ({reason})", concerns_all=True)


_SAID_LENGTH = 300


def said_by_server(text: str) -> str:
    """A server's message in one line of bounded length.

    Of a failed assertion in the graph it keeps the text, without the operation's name.
    """
    line = " ".join(text[: 100 * _SAID_LENGTH].split())
    failed = re.search(r"assertion failed: \[(.*?)\](?: \[\[\{\{|$)", line)
    said = failed.group(1).replace("] [", " ") if failed else line
    return said if len(said) <= _SAID_LENGTH else f"{said[:_SAID_LENGTH]} ..."


class BackOff:
    """Exponential backoff with "full jitter": uniform from 0 to min(longest_s, first_s · 2^n) before attempt n + 2.

    The jitter keeps clients that failed together from returning together. Source: M. Brooker, "Exponential Backoff And
    Jitter", AWS Architecture Blog, 2015. Ours, because gRPC and REST share it: urllib3's `Retry` is for HTTP only.

    Args:
        retries: attempts after the first one.
        first_s: upper bound of the first wait, seconds.
        longest_s: upper bound of every wait, seconds.
        seed: of the jitter. Default: random.
    """

    def __init__(self, retries: int, first_s: float = 0.5, longest_s: float = 10.0, seed: int | None = None):
        self.retries = retries
        self.first_s = first_s
        self.longest_s = longest_s
        self._random = random.Random(seed)

    def wait_s(self, tried: int) -> float:
        """Seconds to wait after `tried` attempts (1, 2, ...)."""
        return self._random.uniform(0.0, min(self.longest_s, self.first_s * 2 ** min(tried - 1, 62)))

    def call(self, request: Callable[[], _Answer]) -> _Answer:
        """Calls `request()`, and retries it after a ServerError that is `unavailable`.

        Raises:
            ServerError: the last one, with the number of attempts.
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
