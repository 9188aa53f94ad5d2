"""The lines of an epoch and within it."""

from types import SimpleNamespace

import pytest

from jasper_tf.model.flops import training_flops
from jasper_tf.training.callbacks.progress import Progress, audio_speed
from jasper_tf.training.datasets import build_batches
from jasper_tf.training.distributed.device_peak import DevicePeak
from jasper_tf.training.run.training_state import TrainingState


@pytest.fixture
def clock(monkeypatch):
    """A clock that is set by hand: `clock.now`."""
    clock = SimpleNamespace(now=100.0)
    for name in ("perf_counter", "monotonic"):
        monkeypatch.setattr(f"time.{name}", lambda: clock.now)
    return clock


@pytest.fixture
def progress(tiny_config, clock):
    """18 steps in 3 epochs, resumed after 8; its model has a learning rate of 0.015."""
    batches, _ = build_batches(tiny_config(), "train_ds")
    said = []
    progress = Progress(said.append, TrainingState(epoch=1, step_in_epoch=2, step=8), 18, batches)
    progress.said = said
    model = SimpleNamespace(optimizer=SimpleNamespace(learning_rate=0.015), sample_rate=16000)
    progress.set_model(model)
    progress.on_train_begin()
    return progress


def step(progress: Progress, clock, seconds: float) -> None:
    clock.now += seconds
    progress.state.step += 1
    progress.state.step_in_epoch += 1
    progress.on_train_batch_end(progress.state.step_in_epoch - 1, {"loss": 2.5})


def test_line_of_an_epoch(progress, clock):
    progress.on_epoch_begin(1)
    for _ in range(4):
        step(progress, clock, 0.5)
    progress.on_test_begin()
    clock.now += 8.0  # of validation: not the training's speed, but part of the time left
    logs = {"loss": 2.25, "infeasible": 2.0, "val_loss": 3.0, "val_wer": 0.5, "val_cer": 0.25}
    progress.on_epoch_end(1, logs)
    batches, plan = progress.batches, progress.batches.plan(1)[2:]
    utterances = sum(len(batch.index) for batch in plan)
    audio_s = sum(batches.audio_len[batch.index].sum() for batch in plan) / 16000
    assert progress.said == [
        "epoch 2/3  step 12/18  loss 2.250  lr 1.50e-02  val_loss 3.000  val_wer 50.00%  val_cer 25.00%  2 infeasible"
        f"  {utterances / 2:.1f} utt/s  {audio_s / 2 / 3600:.2g} h audio/s  0:00:15 left"
    ]


def test_utilization_of_the_devices(progress, clock, untrained_model):
    model = untrained_model(list(" abc"))
    progress.peak = DevicePeak(1e9)
    model.optimizer = progress.model.optimizer
    progress.set_model(model)
    progress.on_epoch_begin(1)
    for _ in range(4):
        step(progress, clock, 0.5)
    progress.on_epoch_end(1, {"loss": 2.25})
    plan = progress.batches.plan(1)[2:]
    flops = sum(len(batch.index) * training_flops(model, batch.samples) for batch in plan)
    assert f"  MFU {flops / 2 / 1e9:.1%}  " in progress.said[0]


def test_speed_begins_anew_with_each_epoch(progress, clock):
    progress.on_epoch_begin(1)
    step(progress, clock, 50.0)
    progress.state.epoch, progress.state.step_in_epoch = 2, 0
    progress.on_epoch_begin(2)
    step(progress, clock, 2.0)
    progress.on_epoch_end(2, {"loss": 1.0})
    utterances = len(progress.batches.plan(2)[0].index)
    assert f"  {utterances / 2:.1f} utt/s  " in progress.said[0]
    assert "  0:03:28 left" in progress.said[0]  # 8 steps of 26 s


def test_a_line_within_an_epoch_where_there_is_no_terminal(progress, clock, caplog):
    caplog.set_level("INFO", "jasper_tf")
    progress.on_epoch_begin(1)
    for seconds in (1.0, 28.0, 2.0):
        step(progress, clock, seconds)
    progress.on_test_begin()
    for _ in range(3):
        clock.now += 20
        progress.on_test_batch_end(0)
    [first, validating] = caplog.messages
    utterances = sum(len(batch.index) for batch in progress.batches.plan(1)[2:5])
    assert first.startswith("epoch 2/3: 5 of 6, 83%, 0:01:12 left, step 11/18  loss 2.500  lr 1.50e-02  ")
    assert f"  {utterances / 31:.1f} utt/s  " in first
    assert validating == "validating, batch: 2, epoch 2/3  step 11/18"


def test_audio_speed():
    assert audio_speed(2.84) == "2.8 x real time"
    assert audio_speed(36.0) == "0.01 h audio/s"
    assert audio_speed(77.0) == "0.021 h audio/s"
    assert audio_speed(9000.0) == "2.5 h audio/s"
    assert audio_speed(999000.0) == "278 h audio/s"
