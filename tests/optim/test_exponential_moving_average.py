"""The moving average of the weights: its formula, its validation, restarts, skipped steps, several devices."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from jasper_tf.optim.exponential_moving_average import ExponentialMovingAverage, weights_for
from jasper_tf.training.callbacks.average_weights import AverageWeights
from jasper_tf.training.run.checkpoint_manager import CheckpointManager
from jasper_tf.training.run.training_state import TrainingState


def small_model(optimizer=None):
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3), keras.layers.BatchNormalization(momentum=0.7)])
    model.compile(optimizer or keras.optimizers.SGD(0.1), "mse")
    model.optimizer.build(model.trainable_variables)
    return model


def values(variables) -> list[np.ndarray]:
    return [np.array(v) for v in variables]


def data(rows=24):
    draw = np.random.default_rng(5)
    return draw.normal(size=(rows, 2)).astype("float32"), draw.normal(size=(rows, 3)).astype("float32")


def fit(model, callbacks=(), epochs=2, **arguments):
    x, y = data()
    return model.fit(
        x, y, batch_size=4, epochs=epochs, shuffle=False, verbose=0, callbacks=list(callbacks), **arguments
    )


class Record(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.steps = []

    def on_train_batch_end(self, batch, logs=None):
        self.steps.append(values(self.model.weights))


@pytest.mark.parametrize(
    ("decay", "start_step", "every_n_steps"), [(0.9, 0, 1), (0.999, 0, 1), (0.8, 5, 1), (0.8, 0, 3), (0.8, 4, 3)]
)
def test_formula(decay, start_step, every_n_steps):
    """Of every weight, running statistics too; the initial ones are where it begins."""
    model, record = small_model(), Record()
    average = ExponentialMovingAverage(model, decay, start_step, every_n_steps)
    model.weights[0].assign(model.weights[0] + 1)  # as a pretrained model's, loaded after the average was made
    expected = [v.astype(np.float64) for v in values(model.weights)]
    fit(model, [AverageWeights(average, TrainingState()), record])
    assert len(record.steps) == 12
    for step, weights in enumerate(record.steps, start=1):
        if step % every_n_steps:
            continue
        for e, w in zip(expected, weights, strict=True):
            e[...] = w if step <= start_step else decay * e + (1 - decay) * w
    for v, e in zip(average.variables, expected, strict=True):
        np.testing.assert_allclose(v, e, rtol=1e-5, atol=1e-6, err_msg=v.path)
    assert any(np.abs(np.array(v) - w).max() > 1e-3 for v, w in zip(average.variables, record.steps[-1], strict=True))


@pytest.mark.medium
def test_every_validation_is_of_both():
    x, y = data()
    alone, model, scored = small_model(), small_model(), small_model()
    history = fit(alone, validation_data=(x, y), validation_freq=2, epochs=4).history
    average, state = ExponentialMovingAverage(model, 0.9), TrainingState()
    callback = AverageWeights(average, state, lambda: model.evaluate(x, y, verbose=0, return_dict=True))
    seen = []
    watch = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append((values(model.weights), logs)))
    with_both = fit(model, [callback, watch], validation_data=(x, y), validation_freq=2, epochs=4).history
    # The training, its figures and the validation are what they are without the average.
    assert {key: with_both[key] for key in history} == history
    for a, b in zip(alone.weights, model.weights, strict=True):
        np.testing.assert_array_equal(a, b)
    assert ["val_loss_ema" in logs for _, logs in seen] == [False, True, False, True]
    for weight, value in zip(model.weights, seen[-1][0], strict=True):
        np.testing.assert_array_equal(weight, value)
    assert state.metrics == {"val_loss_ema": with_both["val_loss_ema"][-1]}
    for copy, v in zip(scored.weights, weights_for(model, "val_loss_ema"), strict=True):
        copy.assign(v)
    assert scored.evaluate(x, y, verbose=0) == pytest.approx(with_both["val_loss_ema"][-1], rel=1e-6)
    assert with_both["val_loss_ema"][-1] != with_both["val_loss"][-1]
    assert weights_for(model, "val_loss") == model.weights


def test_what_the_raw_validation_counted_is_there_afterwards():
    model = small_model()
    average = ExponentialMovingAverage(model)
    callback = AverageWeights(average, TrainingState(), lambda: model.evaluate(*data(), verbose=0, return_dict=True))
    callback.set_model(model)
    fit(model, epochs=1)
    before = [values(m.variables) for m in model.metrics]
    callback.on_epoch_end(0, {"val_loss": 1.0})
    for old, metric in zip(before, model.metrics, strict=True):
        for a, b in zip(old, metric.variables, strict=True):
            np.testing.assert_array_equal(a, b)


def test_an_error_leaves_nothing_swapped():
    model = small_model()
    average = ExponentialMovingAverage(model)
    for variable in average.variables:
        variable.assign(variable + 1)
    before = values(model.weights)
    with pytest.raises(KeyboardInterrupt), average.in_model():
        assert (np.array(model.weights[0]) == np.array(average.variables[0])).all()
        raise KeyboardInterrupt
    for a, b in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_checkpoint_goes_on(tmp_path):
    """5 epochs are 3, a checkpoint, and 2."""
    whole = small_model()
    average = ExponentialMovingAverage(whole, 0.9, start_step=3)
    fit(whole, [AverageWeights(average, TrainingState())], epochs=5)
    first, second = small_model(), small_model()
    fit(first, [AverageWeights(ExponentialMovingAverage(first, 0.9, start_step=3), TrainingState())], epochs=3)
    checkpoints = CheckpointManager(tmp_path)
    checkpoints.save(first, TrainingState(epoch=3, step=18))
    resumed = ExponentialMovingAverage(second, 0.9, start_step=3)
    checkpoints.restore(second)
    fit(second, [AverageWeights(resumed, TrainingState())], epochs=5, initial_epoch=3)
    for a, b in zip(whole.weights + average.variables, second.weights + resumed.variables, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.medium
def test_a_step_that_the_loss_scale_left_out_does_not_count():
    model = small_model(keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1), initial_scale=2.0))
    average = ExponentialMovingAverage(model, 0.5)
    average.begin()
    start = values(model.weights)

    def step(gradient):
        model.optimizer.apply([tf.fill(v.shape, gradient) for v in model.trainable_variables])
        average.update()
        return np.array(average.variables[0])

    np.testing.assert_allclose(step(2.0), start[0] - 0.05, rtol=1e-5)
    np.testing.assert_allclose(step(float("inf")), start[0] - 0.05, rtol=1e-5)
    np.testing.assert_allclose(step(1.0), start[0] - 0.125, rtol=1e-5)  # the scale fell to 1
    # Nor does it after a restart at which nothing new was learnt.
    average.begin()
    np.testing.assert_allclose(step(float("inf")), start[0] - 0.125, rtol=1e-5)


TWO_DEVICES = """
import keras, numpy as np, tensorflow as tf
from jasper_tf.optim.schedules.annealing import WarmupAnnealing
from jasper_tf.training.run.training_state import TrainingState
from jasper_tf.training.callbacks.reduce_on_plateau import ReduceOnPlateau
from jasper_tf.optim.schedules.scaled_schedule import ScaledSchedule
from jasper_tf.optim.exponential_moving_average import ExponentialMovingAverage
from jasper_tf.training.callbacks.average_weights import AverageWeights
draw = np.random.default_rng(2)
x, y = draw.normal(size=(32, 5)).astype("float32"), draw.normal(size=(32, 1)).astype("float32")
batches = tf.data.Dataset.from_tensor_slices((x, y)).batch(16)
results = []
for devices in (["CPU:0"], ["CPU:0", "CPU:1"]):
    keras.utils.set_random_seed(0)
    with tf.distribute.MirroredStrategy(devices, tf.distribute.ReductionToOneDevice()).scope():
        model = keras.Sequential([keras.layers.Input((5,)), keras.layers.Dense(8), keras.layers.Dense(1)])
        schedule = ScaledSchedule(WarmupAnnealing(0.1, 40, warmup_steps=3))
        optimizer = keras.optimizers.AdamW(schedule, weight_decay=0.01)
        model.compile(optimizer, loss="mse", jit_compile=False)
        optimizer.build(model.trainable_variables)
        state, average = TrainingState(), ExponentialMovingAverage(model, 0.9)
    callbacks = [
        AverageWeights(average, state, lambda: model.evaluate(batches, return_dict=True, verbose=0)),
        ReduceOnPlateau(state, "val_loss_ema", 0.5, 1, threshold=9.0, threshold_mode="abs", say=lambda _: None),
    ]
    history = model.fit(batches, validation_data=batches, epochs=4, verbose=0, callbacks=callbacks).history
    assert state.plateau["scale"] == 0.125 and float(optimizer.learning_rate) < 0.0125
    results.append([*model.get_weights(), *map(np.array, average.variables), *map(np.array, history.values())])
    if devices[1:]:
        for v in average.variables + model.weights:
            copies = [np.array(c) for c in v.value.values]
            assert len(copies) == 2 and (copies[0] == copies[1]).all(), v.path
assert np.abs(results[0][0] - results[0][4]).max() > 1e-3
for one, two in zip(*results, strict=True):
    np.testing.assert_allclose(two, one, atol=1e-5)
print("equal")
"""


@pytest.mark.slow
def test_two_devices_equal_one(on_two_devices):
    """With the scale of `ReduceOnPlateau`."""
    assert on_two_devices(TWO_DEVICES) == "equal\n"
