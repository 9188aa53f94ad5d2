"""Early stopping over restarts."""

import keras
import pytest

from jasper_tf.training.callbacks.early_stopping import EarlyStopping
from jasper_tf.training.run.training_state import TrainingState


@pytest.mark.parametrize("restart_after", [None, 0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize(("mode", "sign"), [("min", 1), ("max", -1)])
def test_a_restart_changes_nothing(restart_after, mode, sign):
    """The best is 0.4 at epoch 2; 0.395 is no improvement by 0.01; an epoch without validation does not count."""
    values = [0.5, None, 0.4, 0.395, 0.6, 0.39, 0.1]
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    state = TrainingState()

    def begin():
        callback = EarlyStopping(state, "val_loss", mode, patience=3, min_delta=0.01)
        callback.set_model(model)
        model.stop_training = False
        callback.on_train_begin()
        return callback

    callback = begin()
    for epoch, value in enumerate(values):
        callback.on_epoch_end(epoch, {} if value is None else {"val_loss": sign * value})
        if model.stop_training:
            break
        if epoch == restart_after:
            callback = begin()
    # 0.39 beats 0.4 by 0.01 in no float: three validations have passed without improvement.
    assert epoch == 5 and state.waited == [3.0, sign * 0.4]
