"""When a run is saved, and which weights become its model."""

import gc
import resource
import sys
import time
from pathlib import Path

import keras
import pytest

from jasper_tf.errors import DivergedError, UserError
from jasper_tf.optim.novograd import NovoGrad
from jasper_tf.training.callbacks.save_checkpoints import SaveCheckpoints
from jasper_tf.training.run.checkpoint_manager import CheckpointManager
from jasper_tf.training.run.training_state import TrainingState


@pytest.fixture
def saver(tmp_path):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(NovoGrad(0.1), "mse")
    model.optimizer.build(model.trainable_variables)
    checkpoints = CheckpointManager(tmp_path / "checkpoints", save_top_k=-1)
    saver = SaveCheckpoints(checkpoints, tmp_path / "model.keras", TrainingState(), every_n_train_steps=2)
    saver.set_model(model)
    saver.set_params({"steps": 4})
    return saver


def epoch(saver: SaveCheckpoints, number: int, wer: float | None) -> None:
    """The weights of epoch n are n."""
    saver.model.layers[0].kernel.assign([[number]])
    state = saver.state
    state.epoch, state.step, state.step_in_epoch = number, 4 * number + 4, 4
    state.metrics = {} if wer is None else {"val_wer": wer}
    saver.on_epoch_end(number, {"loss": 1.0, **state.metrics})


def weight_of_model(saver: SaveCheckpoints) -> float:
    return float(keras.saving.load_model(saver.filepath).layers[0].kernel[0, 0])


@pytest.mark.parametrize(
    ("rates", "chosen"),
    [
        ([None, None], 1),  # without validation: the newest
        ([0.5, None, 0.7, None], 0),  # an epoch without validation does not replace the best
        ([None, 0.5, 0.6], 1),
        ([0.5, 0.4, 0.4], 2),
        ([float("nan"), 0.9], 1),
        ([0.9, float("nan")], 0),
    ],
)
def test_the_model_is_the_best(saver, rates, chosen):
    for number, rate in enumerate(rates):
        epoch(saver, number, rate)
    assert weight_of_model(saver) == chosen


def test_the_best_outlives_a_restart(saver):
    saver.checkpoints.save_top_k = 0
    for number, rate in enumerate([0.3, 0.6]):
        epoch(saver, number, rate)
    state = saver.checkpoints.restore(saver.model)
    assert (state.best, state.epoch, state.step_in_epoch) == (0.3, 2, 0)
    again = SaveCheckpoints(saver.checkpoints, saver.filepath, state)
    again.set_model(saver.model)
    epoch(again, 2, 0.5)
    assert weight_of_model(again) == 0


def test_inside_an_epoch(saver):
    """Not at its last step: a restart there would pass over the validation."""
    for batch in range(4):
        saver.state.step = saver.state.step_in_epoch = batch + 1
        saver.on_train_batch_end(batch)
    assert [p.name for p in saver.checkpoints.paths()] == ["step=00000002"]


def test_by_the_clock(saver, monkeypatch):
    """Every 10 s: 4 s a step make it each third, counted from the checkpoint before."""
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    timed = SaveCheckpoints(saver.checkpoints, saver.filepath, saver.state, interval_s=10)
    timed.set_model(saver.model)
    timed.set_params({"steps": 100})
    for batch in range(8):
        clock[0] += 4
        timed.state.step = timed.state.step_in_epoch = batch + 1
        timed.on_train_batch_end(batch, {"loss": 1.0})
    assert [p.name for p in timed.checkpoints.paths()] == ["step=00000003", "step=00000006"]


def test_a_step_with_a_non_finite_loss_is_not_saved(saver):
    saver.state.step = saver.state.step_in_epoch = 2
    saver.on_train_batch_end(1, {"loss": float("nan")})
    assert saver.checkpoints.paths() == []


def test_the_highest_may_be_the_best(saver):
    saver.mode = "max"
    for number, rate in enumerate([0.4, 0.9, 0.5]):
        epoch(saver, number, rate)
    assert weight_of_model(saver) == 1


def test_weights_that_are_not_finite_leave_the_model_before(saver):
    saver.checkpoints = None
    epoch(saver, 1, 0.5)
    saver.model.layers[0].kernel.assign([[float("inf")]])
    saver.state.step = 12
    with pytest.raises(DivergedError, match="^step 12: "):
        saver.on_epoch_end(2, {"val_wer": 0.4})
    assert weight_of_model(saver) == 1


@pytest.mark.parametrize("size", [100, 1000, 5000])
def test_a_full_disk_leaves_the_model_before(saver, monkeypatch, size):
    epoch(saver, 0, 0.5)
    unraisable = []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)
    quota = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, quota[1]))
    try:
        with pytest.raises(UserError, match="model.keras: cannot write"):
            epoch(saver, 1, 0.4)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, quota)
    gc.collect()
    assert unraisable == []
    assert weight_of_model(saver) == 0
    assert {p.name for p in Path(saver.filepath).parent.iterdir()} == {"model.keras", "checkpoints"}
