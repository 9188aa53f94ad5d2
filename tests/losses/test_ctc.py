import itertools
import json
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from jasper_tf.errors import UserError
from jasper_tf.losses.ctc import CTCLoss, ctc_feasible, ctc_loss

GOLDEN = Path(__file__).parents[1] / "golden"
REDUCTIONS = ("mean_batch", "mean_volume", "mean", "sum")


def log_softmax(logits):
    top = logits.max(-1, keepdims=True)
    return logits - top - np.log(np.exp(logits - top).sum(-1, keepdims=True))


def enumerated_nll(labels, logits):
    """Graves et al. 2006, equations 2 and 3, by walking through every path."""
    log_probs = log_softmax(np.asarray(logits, np.float64))
    blank = log_probs.shape[1] - 1
    total = 0.0
    for path in itertools.product(range(blank + 1), repeat=len(log_probs)):
        if [symbol for symbol, _ in itertools.groupby(path) if symbol != blank] == list(labels):
            total += np.exp(sum(log_probs[t, symbol] for t, symbol in enumerate(path)))
    return -np.log(total)


def forward_backward(labels, logits):
    """Float64 twin of one utterance: (nll, gradient), equations 6 to 16, in the log domain."""
    log_probs = log_softmax(np.asarray(logits, np.float64))
    blank = log_probs.shape[1] - 1
    symbols = np.full(2 * len(labels) + 1, blank)
    symbols[1::2] = labels
    skips = np.array([s > 1 and symbols[s] not in (blank, symbols[s - 2]) for s in range(len(symbols))])

    def forward(emission, skips):
        alpha = np.full(emission.shape, -np.inf)
        alpha[0, :2] = emission[0, :2]
        for t in range(1, len(emission)):
            shifted = [np.concatenate([np.full(k, -np.inf), alpha[t - 1]])[: emission.shape[1]] for k in range(3)]
            shifted[2] = np.where(skips, shifted[2], -np.inf)
            alpha[t] = np.logaddexp.reduce(shifted) + emission[t]
        return alpha

    emission = log_probs[:, symbols]
    alpha = forward(emission, skips)
    mirrored_skips = np.concatenate([skips[2:], [False, False]])[::-1][: len(symbols)]
    beta = forward(emission[::-1, ::-1], mirrored_skips)[::-1, ::-1]
    nll = -np.logaddexp.reduce(alpha[-1, -2:])
    gradient = np.exp(log_probs)
    for s, symbol in enumerate(symbols):
        gradient[:, symbol] -= np.exp(alpha[:, s] + beta[:, s] - emission[:, s] + nll)
    return nll, gradient


def loss_and_gradient(labels, label_len, logits, logit_len, loss=ctc_loss):
    logits = tf.constant(logits, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        nll = loss(tf.constant(labels, tf.int32), tf.constant(label_len), logits, tf.constant(logit_len))
    return nll.numpy(), tape.gradient(nll, logits).numpy()


def random_batch(seed, batch, frames, size, classes, scale=1.0):
    random = np.random.default_rng(seed)
    logits = (scale * random.normal(size=(batch, frames, classes + 1))).astype(np.float32)
    labels = random.integers(0, classes, (batch, size)).astype(np.int32)
    label_len = random.integers(size // 2, size + 1, batch).astype(np.int32)
    logit_len = random.integers(frames * 4 // 5, frames + 1, batch).astype(np.int32)
    return labels, label_len, logits, logit_len


@pytest.mark.parametrize("labels", [[], [0], [1, 1], [0, 1], [0, 1, 0], [1, 1, 1], [0, 0, 1]])
def test_loss_is_the_sum_over_all_paths(labels):
    logits = np.random.default_rng(len(labels)).normal(size=(1, 5, 3)).astype(np.float32)
    expected = enumerated_nll(labels, logits[0])
    padded = np.array([labels + [7] * (4 - len(labels))])
    nll, _ = loss_and_gradient(padded, [len(labels)], logits, [5])
    np.testing.assert_allclose(nll, [expected], rtol=1e-6)
    np.testing.assert_allclose(forward_backward(labels, logits[0])[0], expected, rtol=1e-12)


@pytest.mark.parametrize(
    "shape, scale", [((4, 30, 8, 5), 1.0), ((3, 60, 20, 2), 3.0), ((2, 400, 150, 28), 1.0), ((3, 200, 60, 28), 10.0)]
)
def test_loss_and_gradient_match_the_float64_twin(shape, scale):
    labels, label_len, logits, logit_len = random_batch(1, *shape, scale=scale)
    nll, gradient = loss_and_gradient(labels, label_len, logits, logit_len)
    for b in range(shape[0]):
        expected, slope = forward_backward(labels[b, : label_len[b]], logits[b, : logit_len[b]])
        np.testing.assert_allclose(nll[b], expected, rtol=2e-6)
        np.testing.assert_allclose(gradient[b, : logit_len[b]], slope, atol=1e-5)
        assert not gradient[b, logit_len[b] :].any()


@pytest.mark.parametrize("favored, certainty", [("blank", 40.0), ("blank", 300.0), ("label", 60.0)])
def test_probabilities_far_below_the_range_of_float32(favored, certainty):
    """The path of the labels is e^-5000 as probable as another one; in linear float32 it would be 0."""
    labels, label_len, logits, logit_len = random_batch(11, 2, 180, 60, 5)
    logits[:, :, 5 if favored == "blank" else 0] += certainty
    nll, gradient = loss_and_gradient(labels, label_len, logits, logit_len)
    for b in range(2):
        expected, slope = forward_backward(labels[b, : label_len[b]], logits[b, : logit_len[b]])
        np.testing.assert_allclose(nll[b], expected, rtol=1e-6)
        np.testing.assert_allclose(gradient[b, : logit_len[b]], slope, atol=2e-4)


def test_a_nan_in_a_valid_frame_is_a_nan_loss():
    labels, label_len, logits, logit_len = random_batch(12, 2, 20, 6, 5)
    logits[0, 3, 1] = np.nan
    nll, gradient = loss_and_gradient(labels, label_len, logits, logit_len)
    assert np.isnan(nll).tolist() == [True, False]
    assert np.isnan(gradient).any(axis=(1, 2)).tolist() == [True, False]


def test_gradient_matches_finite_differences_of_the_twin():
    labels, label_len, logits, logit_len = random_batch(2, 1, 7, 3, 4)
    _, gradient = loss_and_gradient(labels, label_len, logits, logit_len)
    wide = logits[0, : logit_len[0]].astype(np.float64)
    slope = np.zeros_like(wide)
    for at in np.ndindex(*wide.shape):
        step = np.zeros_like(wide)
        step[at] = 1e-5
        up, down = (forward_backward(labels[0, : label_len[0]], wide + sign * step)[0] for sign in (1, -1))
        slope[at] = (up - down) / 2e-5
    np.testing.assert_allclose(gradient[0, : logit_len[0]], slope, atol=1e-6)


def test_sequences_that_fit_exactly():
    """One path only: its probability is a product, its gradient softmax less one-hot."""
    logits = np.random.default_rng(3).normal(size=(1, 5, 4)).astype(np.float32)
    nll, gradient = loss_and_gradient([[2, 2, 0, 0]], [3], logits, [4])
    log_probs = log_softmax(logits[0].astype(np.float64))[:4]
    path = [2, 3, 2, 0]
    np.testing.assert_allclose(nll[0], -log_probs[range(4), path].sum(), rtol=1e-6)
    np.testing.assert_allclose(gradient[0, :4], np.exp(log_probs) - np.eye(4)[path], atol=1e-6)


def test_padding_changes_nothing():
    labels, label_len, logits, logit_len = random_batch(4, 3, 20, 6, 5)
    nll, gradient = loss_and_gradient(labels, label_len, logits, logit_len)
    random = np.random.default_rng(5)
    wide = np.concatenate([logits, np.full((3, 13, 6), np.nan, np.float32)], axis=1)
    wide = np.concatenate([wide, random.normal(size=(2, 33, 6)).astype(np.float32)])
    for b in range(3):
        wide[b, logit_len[b] :] = np.nan
    junk = random.choice([-1, 5, 99999, -(2**31), 0, labels[0, label_len[0] - 1]], size=(5, 15)).astype(np.int32)
    for b in range(3):
        junk[b, : label_len[b]] = labels[b, : label_len[b]]
    more = np.concatenate([label_len, [0, 0]]), np.concatenate([logit_len, [3, 0]])
    padded, padded_gradient = loss_and_gradient(junk, more[0], wide, more[1])
    np.testing.assert_allclose(padded[:3], nll, rtol=1e-6)
    np.testing.assert_allclose(padded_gradient[:3, :20], gradient, atol=1e-6)
    assert not padded_gradient[:3, 20:].any()
    assert padded[4] == 0


def test_infeasible_rows_count_0_and_have_no_gradient():
    labels = np.array([[1, 1, 2], [1, 1, 2], [0, 1, 2], [0, 1, 2], [0, 0, 0]])
    label_len, logit_len = [3, 3, 3, 1, 0], [3, 4, 3, 0, 0]
    expected = [False, True, True, False, True]
    assert ctc_feasible(labels, label_len, logit_len).numpy().tolist() == expected
    logits = np.random.default_rng(6).normal(size=(5, 4, 4))
    nll, gradient = loss_and_gradient(labels, label_len, logits, logit_len)
    assert (nll > 0).tolist() == [False, True, True, False, False]
    assert not gradient[[0, 3, 4]].any() and gradient[[1, 2]].any()
    assert np.isfinite(nll).all() and np.isfinite(gradient).all()


def test_a_label_outside_the_vocabulary_is_nan_not_a_number_that_looks_right():
    logits = np.zeros((3, 4, 4))
    nll, _ = loss_and_gradient([[3, 0], [-1, 0], [0, 3]], [1, 1, 1], logits, [4, 4, 4])
    assert np.isnan(nll).tolist() == [True, True, False]


@pytest.mark.parametrize("frames, size, batch", [(0, 3, 2), (4, 0, 2), (0, 0, 2), (4, 3, 0)])
def test_empty_axes(frames, size, batch):
    label_len = [0] * batch
    nll, gradient = loss_and_gradient(
        np.zeros((batch, size)), np.array(label_len), np.zeros((batch, frames, 4)), np.array([frames] * batch)
    )
    np.testing.assert_allclose(nll, np.full(batch, frames * np.log(4.0)), rtol=1e-6)
    assert gradient.shape == (batch, frames, 4)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_unknown_shapes_and_xla(jit_compile):
    signature = [
        tf.TensorSpec([None, None], tf.int32),
        tf.TensorSpec([None], tf.int32),
        tf.TensorSpec([None, None, 6], tf.float32),
        tf.TensorSpec([None], tf.int32),
    ]

    @tf.function(input_signature=signature, jit_compile=jit_compile)
    def compiled(labels, label_len, logits, logit_len):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            nll = ctc_loss(labels, label_len, logits, logit_len)
        return nll, tape.gradient(nll, logits)

    for shape in ((3, 20, 6, 5), (2, 31, 9, 5)):
        batch = random_batch(7, *shape)
        nll, gradient = loss_and_gradient(*batch)
        got = compiled(*map(tf.constant, batch))
        np.testing.assert_allclose(got[0], nll, rtol=2e-6)
        np.testing.assert_allclose(got[1], gradient, atol=1e-5)


def test_half_precision_logits_are_computed_in_float32():
    labels, label_len, logits, logit_len = random_batch(8, 2, 40, 10, 5)
    logits = tf.cast(logits, tf.bfloat16)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        nll = ctc_loss(labels, label_len, logits, logit_len)
    reference, _ = loss_and_gradient(labels, label_len, tf.cast(logits, tf.float32).numpy(), logit_len)
    assert nll.dtype == tf.float32
    np.testing.assert_allclose(nll, reference, rtol=1e-6)
    assert tape.gradient(nll, logits).dtype == tf.bfloat16


def golden():
    arrays = np.load(GOLDEN / "decoder_ctc.npz")
    meta = json.loads((GOLDEN / "decoder_ctc.json").read_text())
    return arrays, meta


@pytest.mark.parametrize("rows", [3, 4])
@pytest.mark.parametrize("reduction", ["none", *REDUCTIONS])
def test_golden_losses(reduction, rows):
    arrays, meta = golden()
    expected = meta["ctc"][f"{reduction}/zero_infinity=True/n={rows}"]
    y_true = {"labels": arrays["targets"][:rows], "label_len": arrays["target_len"][:rows]}
    y_pred = {"logits": arrays["logprobs"][:rows], "logit_len": arrays["enc_len"][:rows]}
    if reduction == "none":
        got = CTCLoss().call(y_true, y_pred)
    else:
        got = CTCLoss(reduction)(y_true, y_pred)
    np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_golden_gradients():
    arrays, _ = golden()
    encoded = tf.constant(arrays["enc"].transpose(0, 2, 1))
    weight = tf.constant(arrays["sd/decoder_layers.0.weight"][:, :, 0].T)
    bias = tf.constant(arrays["sd/decoder_layers.0.bias"])
    with tf.GradientTape() as tape:
        tape.watch((encoded, weight, bias))
        y_pred = {"logits": encoded @ weight + bias, "logit_len": arrays["enc_len"]}
        loss = CTCLoss()({"labels": arrays["targets"], "label_len": arrays["target_len"]}, y_pred)
    by_encoded, by_weight, by_bias = tape.gradient(loss, (encoded, weight, bias))
    np.testing.assert_allclose(loss, arrays["ctc_mean_batch_zi/loss"], rtol=1e-6)
    np.testing.assert_allclose(by_encoded, arrays["ctc_mean_batch_zi/grad_enc"].transpose(0, 2, 1), atol=5e-6)
    # The golden sums are themselves 2.4e-5 (weight) and 6.6e-5 (bias) from float64; ours are 1e-6 from it.
    np.testing.assert_allclose(by_weight, arrays["ctc_mean_batch_zi/grad_w"][:, :, 0].T, atol=4e-5)
    np.testing.assert_allclose(by_bias, arrays["ctc_mean_batch_zi/grad_b"], atol=1e-4)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_rows_of_weight_0_are_as_if_absent(reduction):
    labels, label_len, logits, logit_len = random_batch(9, 4, 20, 6, 5)
    loss = CTCLoss(reduction)
    keep = [0, 2]
    alone = loss(
        {"labels": labels[keep], "label_len": label_len[keep]}, {"logits": logits[keep], "logit_len": logit_len[keep]}
    )
    logits[1] = np.nan
    y_true, y_pred = {"labels": labels, "label_len": label_len}, {"logits": logits, "logit_len": logit_len}
    np.testing.assert_allclose(loss(y_true, y_pred, sample_weight=np.array([1.0, 0.0, 1.0, 0.0])), alone, rtol=1e-6)
    assert loss(y_true, y_pred, sample_weight=np.zeros(4)) == 0


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_parts_of_a_batch_add_up(reduction):
    labels, label_len, logits, logit_len = random_batch(10, 4, 20, 6, 5)
    loss = CTCLoss(reduction)
    y_true, y_pred = {"labels": labels, "label_len": label_len}, {"logits": logits, "logit_len": logit_len}
    parts = [({k: v[at] for k, v in y_true.items()}, {k: v[at] for k, v in y_pred.items()}) for at in ([0, 1, 2], [3])]
    total = sum(loss.numerator(*part) for part in parts)
    np.testing.assert_allclose(total / loss.denominator(y_true), loss(y_true, y_pred), rtol=1e-6)


def test_config_and_unknown_reduction():
    copy = keras.losses.deserialize(keras.losses.serialize(CTCLoss("mean_volume")))
    assert isinstance(copy, CTCLoss) and copy.reduction == "mean_volume"
    with pytest.raises(UserError, match="ctc_reduction.*average.*mean_batch"):
        CTCLoss("average")
