"""Durations in a configuration, as PyTorch Lightning writes them."""

from __future__ import annotations

import datetime
import re
from typing import Any

MOST_S = 10**9
_CLOCK = re.compile(r"(\d{1,9}):(\d\d?):(\d\d?):(\d\d?)")


def seconds(value: str | dict[str, Any] | float) -> float:
    """Seconds of a duration: "DD:HH:MM:SS", a mapping such as `{hours: 1, minutes: 30}`, or a number of seconds.

    Raises:
        ValueError: it is none of these, or not above 0 and at most `MOST_S`; the message says what is expected.
    """
    found: float | None = None
    if isinstance(value, dict):
        try:
            found = datetime.timedelta(**value).total_seconds()
        except (TypeError, OverflowError, ValueError):  # an unknown unit, 1e308 days, NaN
            pass
    elif isinstance(value, str) and (clock := _CLOCK.fullmatch(value)):
        days, hours, minutes, rest = map(int, clock.groups())
        found = ((days * 24 + hours) * 60 + minutes) * 60 + rest
    elif isinstance(value, int | float) and not isinstance(value, bool):
        found = value
    if found is None or not 0 < found <= MOST_S:
        examples = "DD:HH:MM:SS, seconds, or {hours: 1, minutes: 30}"
        raise ValueError(f"expected a duration above 0: {examples}, at most {MOST_S:,} s")
    return float(found)
