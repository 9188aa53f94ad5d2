"""Early stopping that resumes with the run."""

from __future__ import annotations

import keras

from jasper_tf.training.run.training_state import TrainingState


class EarlyStopping(keras.callbacks.EarlyStopping):
    """Early stopping of Keras that counts validations and keeps its count in the checkpoints.

    Args:
        state: of the run; holds the count.
        monitor, mode, patience, min_delta: as Keras has them; NeMo: `early_stopping_callback_params`.
    """

    def __init__(self, state: TrainingState, monitor: str, mode: str, patience: int, min_delta: float):
        super().__init__(monitor=monitor, mode=mode, patience=patience, min_delta=min_delta)
        self.state = state

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        if self.state.waited:
            wait, self.best = self.state.waited
            self.wait = int(wait)

    def on_epoch_end(self, epoch, logs=None):
        if self.monitor not in logs:  # an epoch without validation
            return
        super().on_epoch_end(epoch, logs)
        if self.best is not None:
            self.state.waited = [float(self.wait), float(self.best)]
