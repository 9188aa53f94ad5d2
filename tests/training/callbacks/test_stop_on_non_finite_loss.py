"""A NaN or infinite loss stops the run and names the batch."""

import json
import math

import pytest

from jasper_tf.errors import UserError
from jasper_tf.training.callbacks.stop_on_non_finite_loss import StopOnNonFiniteLoss
from jasper_tf.training.datasets import build_batches
from jasper_tf.training.run.training_state import TrainingState


@pytest.mark.parametrize("loss", [math.nan, math.inf])
@pytest.mark.parametrize("bad_step", [0, 2, 5])
def test_the_batch_is_named(tiny_config, tmp_path, loss, bad_step):
    batches, _ = build_batches(tiny_config(), "train_ds")
    state = TrainingState(epoch=1)
    report = tmp_path / "batch.jsonl"
    callback = StopOnNonFiniteLoss(batches, state, report)
    with pytest.raises(UserError) as caught:
        for step in range(6):
            state.step = 6 + step + 1
            # A mean over the epoch: it stays what it has become.
            callback.on_train_batch_end(step, {"loss": loss if step >= bad_step else 1.5})
        callback.on_test_begin()
    message = str(caught.value)
    assert message.startswith(f"step {6 + bad_step + 1}: the loss is {loss}; its batch: ")
    wanted = [batches.utterances[i] for i in batches.plan(1)[bad_step].index]
    for utterance in wanted:
        assert f"{utterance.path} ({utterance.source})" in message
    lines = [json.loads(line) for line in report.read_text().splitlines()]
    assert [(line["audio_filepath"], line["text"]) for line in lines] == [(u.path, u.text) for u in wanted]


def test_finite_losses_pass_and_the_last_step_of_an_epoch_is_checked(tiny_config, tmp_path):
    batches, _ = build_batches(tiny_config(), "train_ds")
    state, report = TrainingState(), tmp_path / "batch.jsonl"
    callback = StopOnNonFiniteLoss(batches, state, report)
    for step, loss in enumerate((0.0, -1.0, 1e30)):
        state.step = step + 1
        callback.on_train_batch_end(step, {"loss": loss})
    callback.on_epoch_end(0, {})
    callback.on_test_begin()
    assert not report.exists()
    state.epoch, state.step = 1, 4
    callback.on_train_batch_end(0, {"loss": math.nan})
    with pytest.raises(UserError, match="step 4: the loss is nan"):
        callback.on_epoch_end(1, {})
    wanted = [batches.utterances[i].path for i in batches.plan(1)[0].index]
    assert [json.loads(line)["audio_filepath"] for line in report.read_text().splitlines()] == wanted
