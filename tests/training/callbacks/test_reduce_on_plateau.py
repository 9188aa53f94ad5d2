"""Lower learning rate when validation stops improving, also over restarts."""

import json
from dataclasses import asdict

import keras
import numpy as np
import pytest

from jasper_tf.optim.schedules.cosine_annealing import CosineAnnealing
from jasper_tf.optim.schedules.scaled_schedule import ScaledSchedule
from jasper_tf.training.callbacks.reduce_on_plateau import ReduceOnPlateau
from jasper_tf.training.run.training_state import TrainingState


def model_with(rate):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(rate), "mse")
    return model


def scales(values, state=None, **arguments) -> list[float]:
    """The scale after each validation; None stands for an epoch without."""
    state = state or TrainingState()
    model = model_with(ScaledSchedule(CosineAnnealing(1.0, 100)))
    callback = ReduceOnPlateau(state, "val_wer", say=lambda _: None, **arguments)
    callback.set_model(model)
    callback.on_train_begin()
    found = []
    for epoch, value in enumerate(values):
        callback.on_epoch_end(epoch, {"loss": 1.0} if value is None else {"loss": 1.0, "val_wer": value})
        found.append(float(model.optimizer.learning_rate))
        assert found[-1] == np.float32(state.plateau["scale"])
    return found


NAN = float("nan")


@pytest.mark.parametrize(
    ("values", "arguments", "expected"),
    [
        ([5, 4, 3, 2], {"patience": 1}, [1, 1, 1, 1]),
        ([5, 5, 5, 4, 4], {"patience": 1}, [1, 0.5, 0.25, 0.25, 0.125]),
        ([5, 5, 5, 6, 7, 4], {"patience": 2}, [1, 1, 0.5, 0.5, 0.25, 0.25]),
        ([5, None, 5, None, 5], {"patience": 2}, [1, 1, 1, 1, 0.5]),
        ([NAN, NAN, 5, NAN], {"patience": 1}, [0.5, 0.25, 0.25, 0.125]),
        ([5, 5, 5, 5, 5, 5], {"patience": 1, "cooldown": 2}, [1, 0.5, 0.5, 0.5, 0.25, 0.25]),
        ([10, 9.5, 8.9], {"patience": 1, "threshold": 0.1}, [1, 0.5, 0.5]),
        ([10, 9.5, 8.9], {"patience": 1, "threshold": 0.1, "threshold_mode": "abs"}, [1, 1, 1]),
        ([10, 9.5, 8.9], {"patience": 1, "threshold": 1.0, "threshold_mode": "abs"}, [1, 0.5, 0.5]),
    ],
)
def test_when_it_falls(values, arguments, expected):
    assert scales(values, factor=0.5, **arguments) == expected


@pytest.mark.parametrize("patience", [1, 2, 3])
def test_as_keras_counts(patience):
    values = np.random.default_rng(patience).integers(0, 8, 40).astype(float)
    model = model_with(1.0)
    twin = keras.callbacks.ReduceLROnPlateau("val_wer", factor=0.5, patience=patience, min_delta=0.1, mode="min")
    twin.set_model(model)
    twin.on_train_begin()
    expected = []
    for epoch, value in enumerate(values):
        twin.on_epoch_end(epoch, {"val_wer": value})
        expected.append(float(model.optimizer.learning_rate))
    assert expected[-1] < 0.1
    assert scales(values, factor=0.5, patience=patience, threshold=0.1, threshold_mode="abs") == expected


@pytest.mark.parametrize("cut", range(7))
def test_a_restart_goes_on(cut):
    values = [5, 5, NAN, 4, 4.5, 4.5, 4, 4]
    arguments = {"factor": 0.5, "patience": 2, "cooldown": 1}
    state = TrainingState()
    first = scales(values[:cut], state, **arguments)
    restored = TrainingState(**json.loads(json.dumps(asdict(state))))
    assert first + scales(values[cut:], restored, **arguments) == scales(values, **arguments)


def test_the_log_line():
    said = []
    callback = ReduceOnPlateau(TrainingState(), "val_wer", factor=0.5, patience=1, say=said.append)
    callback.set_model(model_with(ScaledSchedule(CosineAnnealing(1.0, 100))))
    callback.on_train_begin()
    for value in (0.25, 0.5):
        callback.on_epoch_end(0, {"val_wer": value})
    assert said == [
        "val_wer 0.5000, best 0.2500: 1 validation without improvement, learning rate now 0.5 of its schedule"
    ]


def test_below_a_loss_scale():
    schedule = ScaledSchedule(CosineAnnealing(1.0, 100))
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(schedule)), "mse")
    callback = ReduceOnPlateau(TrainingState(plateau={"scale": 0.25}), "val_wer")
    callback.set_model(model)
    callback.on_train_begin()
    assert float(model.optimizer.learning_rate) == 0.25
