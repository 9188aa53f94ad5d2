"""Keras's own ModelCheckpoint, TensorBoard and CosineDecay, in `model.fit` and as ancestors of what trains."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import jasper_tf
from jasper_tf.training.callbacks.save_checkpoints import SaveCheckpoints
from jasper_tf.training.run.log import RunLog


@pytest.mark.medium
def test_fit_with_those_of_keras(tiny_config, tmp_path):
    """The saved model is that of the best epoch, here not the last one."""
    cfg = tiny_config("model.spec_augment=null")
    train, validation = (jasper_tf.build_dataset(cfg, section) for section in ("train_ds", "validation_ds"))
    model = jasper_tf.build_model(cfg)
    schedule = keras.optimizers.schedules.CosineDecay(1e-3, 4 * len(train), warmup_target=2e-2, warmup_steps=len(train))
    model.compile(
        optimizer=jasper_tf.NovoGrad(schedule, betas=(0.8, 0.5), weight_decay=1e-3),
        loss=jasper_tf.CTCLoss(),
        metrics=[jasper_tf.ErrorRate(model.tokenizer, unit, model.decoding) for unit in ("word", "character")],
    )
    kept: list[list[np.ndarray]] = []
    file, logs = tmp_path / "best.keras", tmp_path / "logs"
    callbacks = [
        keras.callbacks.ModelCheckpoint(file, monitor="val_wer", mode="min", save_best_only=True),
        keras.callbacks.TensorBoard(logs),
        keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: kept.append(model.get_weights())),
    ]
    history = model.fit(train, validation_data=validation, epochs=5, callbacks=callbacks, verbose=0).history
    best = int(np.argmin(history["val_wer"]))
    assert best < 4
    loaded = jasper_tf.load_model(file)
    for value, expected in zip(loaded.get_weights(), kept[best], strict=True):
        np.testing.assert_array_equal(value, expected)
    written = EventAccumulator(str(logs / "validation"), size_guidance={"tensors": 0}).Reload()
    curve = [tf.make_ndarray(event.tensor_proto).item() for event in written.Tensors("epoch_wer")]
    np.testing.assert_allclose(curve, history["val_wer"], rtol=1e-6)
    rates = [float(schedule(len(train) * epoch)) for epoch in range(1, 6)]
    written = EventAccumulator(str(logs / "train"), size_guidance={"tensors": 0}).Reload()
    found = [tf.make_ndarray(event.tensor_proto).item() for event in written.Tensors("epoch_learning_rate")]
    np.testing.assert_allclose(found, rates, rtol=1e-6)


def test_what_trains_derives_from_those_of_keras():
    assert issubclass(SaveCheckpoints, keras.callbacks.ModelCheckpoint)
    assert issubclass(RunLog, keras.callbacks.TensorBoard)
    assert issubclass(jasper_tf.CosineAnnealing, keras.optimizers.schedules.CosineDecay)
