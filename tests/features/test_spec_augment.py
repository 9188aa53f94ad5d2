import numpy as np
import pytest
import tensorflow as tf

from jasper_tf.errors import UserError
from jasper_tf.features.spec_augment import SpecAugment

DRAWS = 4000
LENGTHS = {0: 400, 1: 250}


def hidden(layer, draws=DRAWS, frames=400, bands=64, lengths=(400, 250)):
    """True where the layer hid a cell: [draws, len(lengths), frames, bands]."""
    lengths = np.tile(np.array(lengths, np.int32), draws)
    features = np.ones((len(lengths), frames, bands), np.float32)
    out = np.asarray(layer(features, lengths, training=True))
    return (out != 1).reshape(draws, -1, frames, bands)


def spans(rows):
    """Widths of all rows, starts and ends of those not empty; every row must be one contiguous run."""
    widths = rows.sum(-1)
    full = rows[widths > 0]
    starts = full.argmax(-1)
    ends = full.shape[-1] - 1 - full[:, ::-1].argmax(-1)
    np.testing.assert_array_equal(ends - starts + 1, full.sum(-1))
    return widths, starts, ends


def assert_same_histogram(values, counts):
    """Largest distance of the two cumulative distributions, at a level passed by chance once in 10,000 times."""
    ours = np.bincount(values, minlength=len(counts)) / len(values)
    theirs = np.array(counts) / sum(counts)
    distance = np.abs(np.cumsum(ours) - np.cumsum(theirs)).max()
    assert distance < 2.23 * np.sqrt(1 / len(values) + 1 / sum(counts))


def test_frequency_masks_are_drawn_as_in_nemo(specaug_golden):
    reference = specaug_golden["specaug/vectorized=True/time_width=70"]["freq"]
    mask = hidden(SpecAugment(freq_masks=1, freq_width=27), frames=4, lengths=(4,), draws=20000)[:, 0]
    assert (mask == mask[:, :1]).all()
    widths, starts, _ = spans(mask[:, 0])
    assert_same_histogram(widths, reference["width_hist"])
    assert_same_histogram(starts, reference["start_hist"])


@pytest.mark.parametrize("time_width", [70, 0.05])
def test_time_masks_are_drawn_as_in_nemo(specaug_golden, time_width):
    reference = specaug_golden[f"specaug/vectorized=True/time_width={time_width}"]["time"]
    mask = hidden(SpecAugment(time_masks=1, time_width=time_width), bands=2, draws=10000)
    assert (mask == mask[..., :1]).all()
    for row, length in LENGTHS.items():
        expected = reference[str(length)]
        widths, starts, ends = spans(mask[:, row, :, 0])
        assert_same_histogram(widths, expected["width_hist"])
        assert widths.max() == expected["width_max"]
        assert starts.mean() == pytest.approx(expected["start_mean"], abs=5 * 110 / np.sqrt(len(starts)))
        assert length - 8 <= ends.max() < length


@pytest.mark.parametrize("time_width", [70, 0.05])
def test_two_and_two_hide_as_much_as_nemo(specaug_golden, time_width):
    reference = specaug_golden[f"specaug/vectorized=True/time_width={time_width}"]["2f2t"]
    layer = SpecAugment(freq_masks=2, time_masks=2, freq_width=27, time_width=time_width)
    masks = [hidden(layer, draws=200) for _ in range(10)]
    for row, length in LENGTHS.items():
        mask = np.concatenate([m[:, row] for m in masks])
        assert not mask[:, length:].any()
        share = mask[:, :length].mean()
        assert share == pytest.approx(reference["masked_fraction_mean_within_len"][str(length)], abs=0.015)
        whole_frames = mask[:, :length].all(2).mean()
        assert whole_frames == pytest.approx(
            reference["time_cols_fully_masked_mean_within_len"][str(length)], abs=0.015
        )


def test_masks_differ_by_utterance_and_call_and_repeat_with_the_seed():
    def layer(seed):
        return SpecAugment(freq_masks=2, time_masks=2, freq_width=27, time_width=70, seed=seed)

    one = layer(1)
    first, second = (hidden(one, draws=4, lengths=(400,)) for _ in range(2))
    np.testing.assert_array_equal(first, hidden(layer(1), draws=4, lengths=(400,)))
    assert (first != second).any() and (first != hidden(layer(2), draws=4, lengths=(400,))).any()
    assert len(np.unique(first.reshape(4, -1), axis=0)) == 4


def test_value_reaches_valid_frames_only_and_short_utterances_survive():
    features = np.random.default_rng(0).standard_normal((4, 20, 8)).astype(np.float32)
    lengths = np.array([20, 5, 1, 0], np.int64)
    layer = SpecAugment(freq_masks=3, time_masks=3, freq_width=8, time_width=70, mask_value=-7.0)
    seen = np.zeros(features.shape, bool)
    for _ in range(20):
        out = np.asarray(layer(features, lengths, training=True))
        assert np.isin(out[out != features], [-7.0]).all()
        seen |= out != features
    for row, n in enumerate(lengths):
        assert seen[row, :n].all() and not seen[row, n:].any()


def test_share_of_one_is_the_whole_length_and_one_frame_is_not():
    assert hidden(SpecAugment(time_masks=1, time_width=1.0), draws=500)[:, 1, :, 0].sum(-1).max() > 240
    assert not hidden(SpecAugment(time_masks=1, time_width=1), draws=500).any()


@pytest.mark.parametrize("arguments", [{}, {"freq_masks": 0, "time_masks": 0, "freq_width": 27}])
def test_off(arguments):
    assert not hidden(SpecAugment(**arguments), draws=4).any()


def test_evaluation_changes_nothing_and_graphs_draw_anew():
    layer = SpecAugment(freq_masks=2, time_masks=2)
    features = np.ones((2, 50, 64), np.float32)
    np.testing.assert_array_equal(layer(features, np.array([50, 20]), training=False), features)
    signature = [tf.TensorSpec([None, None, 64]), tf.TensorSpec([None], tf.int32)]
    graph = tf.function(lambda x, n: layer(x, n, training=True), input_signature=signature)
    outputs = [graph(features, np.array([50, 20], np.int32)).numpy() for _ in range(4)]
    assert len(np.unique(np.stack(outputs), axis=0)) == 4


def test_travels(assert_layer_travels):
    features = np.random.default_rng(0).standard_normal((2, 30, 8)).astype(np.float32)
    assert_layer_travels(SpecAugment(2, 2, 4, 0.05, seed=4), features, np.array([30, 10]))


@pytest.mark.parametrize("arguments", [{"freq_masks": -1}, {"time_width": -0.1}, {"time_width": 1.5}])
def test_impossible_arguments(arguments):
    with pytest.raises(UserError, match="spec_augment"):
        SpecAugment(**arguments)
