"""How many channels a recording may have."""

from __future__ import annotations

from jasper_tf.serving.http.api_error import ApiError

_MOST_CHANNELS = 16
"""A minute of 255 channels is 3 GB as samples, and in 30 kB of Ogg."""


def validate_channels(channels: int) -> None:
    """Refuses a recording of too many channels.

    Raises:
        ApiError: 413.
    """
    if channels > _MOST_CHANNELS:
        message = f"The recording has {channels} channels, this server takes {_MOST_CHANNELS}; mix it down."
        raise ApiError(413, message, "too_many_channels", "file")
