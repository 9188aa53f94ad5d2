"""Greedy decoding against NeMo's texts and a plain Python twin."""

import json
from itertools import groupby
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from jasper_tf.decoding.greedy.greedy_decoder import GreedyDecoder
from jasper_tf.text.tokenizer import CharacterTokenizer

GOLDEN = Path(__file__).parents[2] / "golden"
LABELS = list(" abc")


def twin(logits, length):
    """[(id, first frame, frame after the last, mean posterior)] of one utterance, in float64."""
    logits = logits[:length].astype(np.float64)
    posteriors = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    best, runs, t = posteriors.argmax(-1), [], 0
    for label, run in groupby(best):
        n = len(list(run))
        if label != logits.shape[1] - 1:
            runs.append((label, t, t + n, posteriors[t : t + n, label].mean()))
        t += n
    return runs


def texts(logits, lengths, labels=LABELS):
    """The decoded texts [B] tf.string."""
    return CharacterTokenizer(labels).decode_in_graph(GreedyDecoder()(logits, lengths).best().labels)


def random_logits(seed, batch, frames, classes):
    """Logits whose best classes repeat often."""
    rng = np.random.default_rng(seed)
    best = np.repeat(rng.integers(0, classes, (batch, frames)), 2, axis=1)[:, :frames]
    return (rng.normal(size=(batch, frames, classes)) + 2 * np.eye(classes)[best]).astype(np.float32)


@pytest.mark.parametrize(
    ("logits", "lengths", "expected"),
    [("greedy/logprobs", "greedy/lens", "greedy"), ("logprobs", "enc_len", "greedy_random_decoder")],
)
def test_texts_are_those_of_nemo(logits, lengths, expected):
    arrays, numbers = np.load(GOLDEN / "decoder_ctc.npz"), json.loads((GOLDEN / "decoder_ctc.json").read_text())
    expected = [entry["text"] if isinstance(entry, dict) else entry for entry in numbers[expected]]
    decoded = texts(arrays[logits], arrays[lengths], numbers["labels"])
    assert [text.decode() for text in decoded.numpy()] == expected


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(0, 12), st.data())
def test_twin(seed, batch, frames, data):
    lengths = data.draw(st.lists(st.integers(0, frames), min_size=batch, max_size=batch))
    logits = random_logits(seed, batch, frames, 5)
    best = GreedyDecoder()(logits, np.array(lengths, np.int32)).best()
    ids, ids_len, start, end, confidence, score = map(np.asarray, best)
    assert ids.shape == (batch, frames) and ids.dtype == np.int32
    for b, length in enumerate(lengths):
        expected, n = twin(logits[b], length), ids_len[b]
        exact = logits[b, :length].astype(np.float64)
        best_path = (exact.max(-1) - np.log(np.exp(exact).sum(-1))).sum()
        np.testing.assert_allclose(score[b], best_path, rtol=1e-5, atol=1e-5)
        assert list(zip(ids[b, :n], start[b, :n], end[b, :n], strict=True)) == [run[:3] for run in expected]
        np.testing.assert_allclose(confidence[b, :n], [run[3] for run in expected], atol=1e-5)
        assert (ids[b, n:] == -1).all() and not start[b, n:].any() and not end[b, n:].any()


def test_padding_and_batch_change_nothing():
    logits, lengths = random_logits(1, 4, 30, 5), np.array([30, 17, 0, 1], np.int32)
    together = texts(logits, lengths).numpy()
    for b, length in enumerate(lengths):
        assert texts(logits[b : b + 1, :length], lengths[b : b + 1]).numpy() == [together[b]]
        noise = random_logits(2, 1, 50, 5) * 9
        noise[0, :length] = logits[b, :length]
        assert texts(noise, lengths[b : b + 1]).numpy() == [together[b]]


def test_unknown_shapes_in_a_graph():
    labels = ["ø", "é", "字", "c"]
    signature = [tf.TensorSpec((None, None, None)), tf.TensorSpec((None,), tf.int64)]
    logits, lengths = random_logits(3, 3, 20, 5), np.array([20, 3, 0])
    graph = tf.function(lambda logits, lengths: texts(logits, lengths, labels), input_signature=signature)
    assert (graph(logits, lengths).numpy() == texts(logits, lengths, labels).numpy()).all()
    assert graph(logits[:, :0], lengths * 0).numpy().tolist() == [b"", b"", b""]


def test_functional_model_saves_and_ignores_mixed_precision(tmp_path):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        inputs = keras.Input((None, 5), dtype="float32"), keras.Input((), dtype="int32")
        model = keras.Model(inputs, GreedyDecoder()(*inputs).best().labels)
    finally:
        keras.config.set_dtype_policy("float32")
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    # Equal in bfloat16: a decoder that rounds would take the lower class.
    logits = np.array([[[1.0, 1.0001, 0, 0, 0]]], np.float32)
    for m in (model, loaded):
        assert m([logits, np.array([1])]).numpy().tolist() == [[1]]
