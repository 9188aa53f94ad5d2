"""The metric in graphs, under Keras' evaluate and over two replicas gives jiwer's number for the whole set."""

import jiwer
import keras
import numpy as np
import pytest
import tensorflow as tf

from jasper_tf.decoding.greedy.greedy_decoder import GreedyDecoder
from jasper_tf.metrics.keras_metric import ErrorRate
from jasper_tf.text.tokenizer import CharacterTokenizer

LABELS = list(" ab")
TOKENIZER = CharacterTokenizer(LABELS)


class Echo(keras.Model):
    """Its "audio" are logits already; scores them with an ErrorRate."""

    def __init__(self, metrics):
        super().__init__()
        self.rates = metrics

    def call(self, x):
        return {"logits": x["audio"], "logit_len": x["audio_len"]}

    def test_step(self, data):
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        y_pred = self(x, training=False)
        for metric in self.rates:
            metric.update_state(y, y_pred, sample_weight)
        return {metric.name: metric.result() for metric in self.rates}

    @property
    def metrics(self):
        return self.rates


def utterances(n=12, frames=40, seed=0):
    rng = np.random.default_rng(seed)
    x = {
        "audio": rng.normal(size=(n, frames, 4)).astype(np.float32),
        "audio_len": rng.integers(0, frames, n).astype(np.int32),
    }
    label_len = rng.integers(0, 15, n).astype(np.int32)
    labels = np.where(np.arange(15) < label_len[:, None], rng.integers(0, 3, (n, 15)), -1).astype(np.int32)
    weight = (rng.random(n) < 0.7).astype(np.float32)
    weight[:2] = [0, 1]
    return x, {"labels": labels, "label_len": label_len}, weight


def expected(x, y, weight):
    best = GreedyDecoder()(x["audio"], x["audio_len"]).best()
    hypotheses = [t.decode() for t in TOKENIZER.decode_in_graph(best.labels).numpy()]
    references = ["".join(LABELS[i] for i in row[:n]) for row, n in zip(y["labels"], y["label_len"], strict=True)]
    kept = [(r, h) for r, h, w in zip(references, hypotheses, weight, strict=True) if w]
    references, hypotheses = map(list, zip(*kept, strict=True))
    as_it_is = jiwer.ReduceToListOfListOfChars()
    return {
        "wer": jiwer.wer(references, hypotheses),
        "cer": jiwer.cer(references, hypotheses, as_it_is, as_it_is),
    }


def both():
    return [ErrorRate(TOKENIZER), ErrorRate(TOKENIZER, unit="character")]


def test_evaluate_counts_the_whole_set():
    x, y, weight = utterances()
    model = Echo(both())
    model.compile()
    data = tf.data.Dataset.from_tensor_slices((x, y, weight)).batch(5)
    for _ in range(2):
        assert model.evaluate(data, verbose=0, return_dict=True) == pytest.approx(expected(x, y, weight))


def test_without_weights_every_row_counts():
    x, y, weight = utterances()
    [wer, cer] = both()
    for metric in (wer, cer):
        metric.update_state(y, {"logits": x["audio"], "logit_len": x["audio_len"]})
    assert {"wer": float(wer.result()), "cer": float(cer.result())} == pytest.approx(expected(x, y, weight * 0 + 1))


def test_nothing_counted_is_zero():
    assert float(ErrorRate(TOKENIZER).result()) == 0.0


def test_config_and_wrong_unit():
    metric = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(ErrorRate(TOKENIZER, "character"))
    )
    assert (list(metric.tokenizer.pieces), metric.unit, metric.name) == (LABELS, "character", "cer")
    with pytest.raises(ValueError, match="unit"):
        ErrorRate(TOKENIZER, unit="phone")


TWO_REPLICAS = """
import importlib.util, sys
import tensorflow as tf
spec = importlib.util.spec_from_file_location("metric_test", sys.argv[1])
here = importlib.util.module_from_spec(spec)
spec.loader.exec_module(here)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"], tf.distribute.ReductionToOneDevice())
x, y, weight = here.utterances()
with strategy.scope():
    model = here.Echo(here.both())
    model.compile()
got = model.evaluate(tf.data.Dataset.from_tensor_slices((x, y, weight)).batch(4), verbose=0, return_dict=True)
want = here.expected(x, y, weight)
assert all(abs(got[key] - want[key]) < 1e-6 for key in want), (got, want)
print("equal")
"""


def test_two_replicas(on_two_devices):
    assert on_two_devices(TWO_REPLICAS, __file__) == "equal\n"
