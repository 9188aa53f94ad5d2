"""Stops training on a NaN or infinite loss."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import keras

from jasper_tf.data.batches.pipeline import SpeechBatches
from jasper_tf.errors import DivergedError
from jasper_tf.io.atomic_write import atomic_write
from jasper_tf.training.run.training_state import TrainingState

_NAMED = 5


class StopOnNonFiniteLoss(keras.callbacks.Callback):
    """Stops at the first step with a NaN or infinite loss, and names the utterances of its batch.

    A step is checked while the next one runs, so that the accelerator does not wait. Put it before the callbacks that
    save.

    Args:
        batches: the training batches.
        state: of the run.
        report: file for all utterances of the batch, one JSON object per line; None for none.

    Raises:
        DivergedError: from within `fit`.
    """

    def __init__(self, batches: SpeechBatches, state: TrainingState, report: Path | None = None):
        super().__init__()
        self.batches = batches
        self.state = state
        self.report = report
        self._last: tuple[int, int, Any] | None = None

    def on_train_batch_end(self, batch, logs=None):
        self._check()
        self._last = (batch, self.state.step, logs["loss"])

    def on_test_begin(self, logs=None):
        self._check()

    def on_epoch_end(self, epoch, logs=None):
        self._check()
        self._last = None

    def _check(self) -> None:
        # The logged loss is a mean over the epoch: finite until the first step that is not.
        if self._last is None or math.isfinite(float(self._last[2])):
            return
        step_in_epoch, step, loss = self._last
        index = self.batches.plan(self.state.epoch)[step_in_epoch].index
        utterances = [self.batches.utterances[i] for i in index]
        if self.report:
            with atomic_write(self.report) as file:
                for u in utterances:
                    entry = {"audio_filepath": u.path, "offset": u.offset_s, "duration": u.duration_s, "text": u.text}
                    file.write(json.dumps(entry, ensure_ascii=False) + "\n")
        named = ", ".join(f"{u.path} ({u.source})" for u in utterances[:_NAMED])
        more = f" and {len(utterances) - _NAMED} more" if len(utterances) > _NAMED else ""
        where = f", all in {self.report}" if self.report and more else ""
        raise DivergedError(
            f"step {step}: the loss is {float(loss)}; its batch: {named}{more}{where}; "
            "listen to them, or lower model.optim.lr, lengthen the warm-up, set trainer.gradient_clip_val"
        )
