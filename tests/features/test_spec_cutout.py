import numpy as np
import pytest
import tensorflow as tf

from jasper_tf.errors import UserError
from jasper_tf.features.spec_cutout import SpecCutout


def hidden(layer, draws, lengths, frames=400, bands=64):
    features = np.ones((draws, frames, bands), np.float32)
    return np.asarray(layer(features, np.broadcast_to(lengths, draws).astype(np.int32), training=True)) == 0


def test_one_rectangle_is_drawn_as_in_nemo(specaug_golden):
    reference = specaug_golden["cutout/rect5_f50_t120"]
    layer = SpecCutout(rect_masks=1, rect_freq=50, rect_time=120)
    rows, columns = [], []
    for _ in range(10):
        mask = hidden(layer, 400, 400)
        rows.append(mask.any(2))
        columns.append(mask.any(1))
        np.testing.assert_array_equal(mask, rows[-1][:, :, None] & columns[-1][:, None, :])
    rows, columns = np.concatenate(rows), np.concatenate(columns)
    full = rows.any(1)
    assert 1 - full.mean() == pytest.approx(reference["empty_fraction"], abs=0.01)
    for sides, starts, counts, latest in (
        (columns[full].sum(1), columns[full].argmax(1), "freq_width_hist_given_nonempty", reference["freq_start_max"]),
        (rows[full].sum(1), rows[full].argmax(1), "time_width_hist_given_nonempty", reference["time_start_max"]),
    ):
        theirs = np.array(reference[counts]) / sum(reference[counts])
        ours = np.bincount(sides, minlength=len(theirs)) / len(sides)
        distance = np.abs(np.cumsum(ours) - np.cumsum(theirs)).max()
        assert distance < 2.23 * np.sqrt(1 / len(sides) + 1 / sum(reference[counts]))
        assert sides.max() == len(theirs) - 1
        assert starts.max() == latest and starts.min() == 0
        assert starts.mean() == pytest.approx(latest / 2, rel=0.05)


def test_five_rectangles_hide_as_much_as_nemo(specaug_golden):
    reference = specaug_golden["cutout/rect5_f50_t120"]
    layer = SpecCutout(rect_masks=5, rect_freq=50, rect_time=120)
    shares = np.concatenate([hidden(layer, 500, 400).mean((1, 2)) for _ in range(8)])
    assert shares.mean() == pytest.approx(reference["masked_fraction_mean_5"], abs=0.006)
    assert shares.std() == pytest.approx(reference["masked_fraction_std_5"], abs=0.006)


def test_rectangles_fall_on_valid_frames():
    layer = SpecCutout(rect_masks=3, rect_freq=50, rect_time=120)
    lengths = np.array([400, 250, 40, 1, 0])
    seen = np.zeros((5, 400, 64), bool)
    shares = np.zeros(5)
    for _ in range(100):
        mask = hidden(layer, 5, lengths)
        seen |= mask
        shares += mask.sum((1, 2)) / 64 / np.maximum(lengths, 1)
    for row, n in enumerate(lengths):
        assert not seen[row, n:].any()
        assert seen[row, :n].sum() >= 0.5 * n * 64
    assert shares[1] > shares[0]  # the same rectangles on fewer frames


def test_more_bands_than_features():
    mask = hidden(SpecCutout(rect_masks=1, rect_freq=50, rect_time=120), 500, 400, bands=8)
    assert mask.any(1).sum(1).max() == 8


def test_off_and_evaluation():
    assert not hidden(SpecCutout(), 4, 400).any()
    features = np.ones((2, 50, 64), np.float32)
    layer = SpecCutout(rect_masks=5)
    np.testing.assert_array_equal(layer(features, np.array([50, 20]), training=False), features)


def test_differ_by_utterance_and_call_and_repeat_with_the_seed():
    one = SpecCutout(3, 120, 50, seed=1)
    first, second = hidden(one, 4, 400), hidden(one, 4, 400)
    np.testing.assert_array_equal(first, hidden(SpecCutout(3, 120, 50, seed=1), 4, 400))
    assert (first != second).any()
    assert len(np.unique(first.reshape(4, -1), axis=0)) == 4
    signature = [tf.TensorSpec([None, None, 64]), tf.TensorSpec([None], tf.int32)]
    graph = tf.function(lambda x, n: one(x, n, training=True), input_signature=signature)
    features = np.ones((2, 400, 64), np.float32)
    outputs = [graph(features, np.array([400, 200], np.int32)).numpy() for _ in range(3)]
    assert len(np.unique(np.stack(outputs), axis=0)) == 3


def test_travels(assert_layer_travels):
    features = np.random.default_rng(0).standard_normal((2, 30, 8)).astype(np.float32)
    assert_layer_travels(SpecCutout(2, 5, 4, seed=4), features, np.array([30, 10]))


def test_impossible_arguments():
    with pytest.raises(UserError, match="spec_augment"):
        SpecCutout(rect_masks=-1)
