"""Records a microphone."""

from __future__ import annotations

import queue
from typing import Any

import numpy as np

from jasper_tf.errors import UserError, one_line

_BLOCK_S = 0.1
_MOST_BLOCKS = 600
"""A minute: who is slower than that loses audio."""


class Microphone:
    """A microphone, one channel at its own sample rate, by `sounddevice` (the extra `microphone`, and PortAudio).

        with contextlib.closing(Microphone()) as microphone:
            microphone.start()
            block = microphone.read(timeout_s=0.5)

    Args:
        device: its number, or a part of its name. Default: the system's.

    Raises:
        UserError: the package, PortAudio or the device is missing, or the device cannot record.

    Attributes:
        name: of the device.
        sample_rate: Hz.
        lost_s: seconds of audio that came when a minute of it was waiting.
    """

    def __init__(self, device: str | int | None = None):
        try:
            import sounddevice  # an extra
        except ImportError:
            raise UserError("a microphone needs the package sounddevice; install jasper-tf[microphone]") from None
        except OSError:
            raise UserError(
                "a microphone needs PortAudio, which is not installed; install libportaudio2, or pipe samples to -"
            ) from None
        if isinstance(device, str) and device.isdecimal():
            device = int(device)
        try:
            about = sounddevice.query_devices(device, "input")
            self.name, self.sample_rate = str(about["name"]), round(about["default_samplerate"])
            self._stream: Any = sounddevice.InputStream(
                samplerate=self.sample_rate,
                blocksize=round(_BLOCK_S * self.sample_rate),
                device=device,
                channels=1,
                dtype="float32",
                callback=self._take,
            )
        except (sounddevice.PortAudioError, ValueError) as error:
            raise _cannot_record("the system's" if device is None else repr(device), error) from None
        self._failure = sounddevice.PortAudioError
        self._blocks: queue.Queue[np.ndarray] = queue.Queue(_MOST_BLOCKS)
        self.lost_s = 0.0

    def start(self) -> None:
        """Begins to record.

        Raises:
            UserError: the device was removed, or another program uses it.
        """
        try:
            self._stream.start()
        except self._failure as error:
            raise _cannot_record(repr(self.name), error) from None

    def close(self) -> None:
        """Ends the recording."""
        self._stream.close()

    def read(self, timeout_s: float) -> np.ndarray:
        """The next audio [S] float32; empty if there is none for so long.

        Raises:
            UserError: the device was removed while it recorded.
        """
        try:
            return self._blocks.get(timeout=timeout_s)
        except queue.Empty:
            if not self._stream.active:
                raise UserError(f"--device: {self.name!r} records no more; is it plugged in?") from None
            return np.zeros(0, np.float32)

    def _take(self, recorded: np.ndarray, frames: int, time: Any, status: Any) -> None:
        try:
            self._blocks.put_nowait(recorded[:, 0].copy())
        except queue.Full:
            self.lost_s += frames / self.sample_rate


def _cannot_record(shown: str, error: Exception) -> UserError:
    return UserError(f"--device: {shown} cannot record ({one_line(error)}); name another, or pipe samples to -")
