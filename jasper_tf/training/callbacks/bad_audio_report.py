"""Reports skipped recordings after each epoch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import keras

from jasper_tf.data.batches.bad_audio import BadAudio


class BadAudioReport(keras.callbacks.Callback):
    """Names the recordings that an epoch or its validation skipped (`on_bad_audio: skip`), each once per run.

    Args:
        skipped: the skipped recordings of each dataset.
        say: prints a line.
    """

    def __init__(self, skipped: Sequence[BadAudio], say: Callable[[str], None]):
        super().__init__()
        self.skipped = skipped
        self.say = say

    def on_epoch_end(self, epoch, logs=None):
        self._report()

    def on_train_end(self, logs=None):
        self._report()

    def _report(self) -> None:
        for bad_audio in self.skipped:
            for line in bad_audio.news():
                self.say(line)
