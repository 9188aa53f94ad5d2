"""What a step of CTC training counts."""

import keras
import numpy as np
import pytest

from jasper_tf.model.ctc_model import CTCModel


def model_of_its_input(classes: int) -> CTCModel:
    """Its logits [B,T',V+1] are its audio [B,T'·(V+1)]."""
    audio = keras.Input((None,), name="audio")
    audio_len = keras.Input((), dtype="int32", name="audio_len")
    logits = keras.layers.Dense(classes, kernel_initializer="identity")(keras.layers.Reshape((-1, classes))(audio))
    return CTCModel({"audio": audio, "audio_len": audio_len}, {"logits": logits, "logit_len": audio_len})


@pytest.mark.parametrize("parts", [1, 2])
def test_blank_share(parts):
    """Over valid frames of utterances with a weight, of all micro-batches."""
    draw = np.random.default_rng(0)
    logits = draw.normal(size=(5, 12, 4)).astype(np.float32)
    logit_len = np.array([12, 7, 3, 9, 10], np.int32)
    labels = np.array([[0, 1, 2]] * 5, np.int32)
    weight = np.array([1, 1, 1, 2, 0], np.float32)
    model = model_of_its_input(4)
    model.compile(keras.optimizers.SGD(0.0), accumulate_grad_batches=parts)
    x = {"audio": logits.reshape(5, -1), "audio_len": logit_len}
    model.train_on_batch(x, {"labels": labels, "label_len": np.array([3] * 5, np.int32)}, sample_weight=weight)
    blank = [logits[k, : logit_len[k]].argmax(-1) == 3 for k in range(4)]
    assert float(model.blank_share.result()) == pytest.approx(np.concatenate(blank).mean(), abs=1e-6)
