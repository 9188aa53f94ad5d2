import numpy as np
import pytest

from jasper_tf.errors import UserError
from jasper_tf.features.normalize import FeatureNormalization
from jasper_tf.features.running_statistics import RunningStatistics

RNG = np.random.default_rng(0)
FEATURES = (3 * RNG.standard_normal((5, 13, 4)) - 9).astype(np.float32)
LENGTHS = np.array([13, 7, 2, 1, 0])
FIXED = {"normalize": "fixed", "fixed_mean": [-9.0, -8.0, 1.0, 0.0], "fixed_std": [3.0, 2.0, 1.0, 0.5]}


def twin(features, lengths, normalize, pad_to, pad_value, fixed_mean=None, fixed_std=None):
    frames = features.shape[1] + (-features.shape[1] % pad_to if pad_to else 0)
    out = np.full((len(features), frames, features.shape[2]), pad_value, np.float64)
    for b, n in enumerate(lengths):
        x = features[b, :n].astype(np.float64)
        if normalize == "fixed":
            x = (x - np.array(fixed_mean)) / np.array(fixed_std)
        elif normalize is not None and n:
            axis = 0 if normalize == "per_feature" else None
            std = np.std(x, axis=axis, ddof=1) if n > 1 or axis is None else 0.0
            x = (x - x.mean(axis)) / (std + 1e-5)
        out[b, :n] = x
    return out


@pytest.mark.parametrize("pad_to", [0, 13, 16])
@pytest.mark.parametrize("settings", [{"normalize": n} for n in ("per_feature", "all_features", None)] + [FIXED])
def test_matches_the_definition_in_float64(settings, pad_to):
    layer = FeatureNormalization(**settings, pad_to=pad_to, pad_value=-2.5)
    normal, feature_len = layer(FEATURES, LENGTHS)
    expected = twin(FEATURES, LENGTHS, pad_to=pad_to, pad_value=-2.5, **settings)
    np.testing.assert_allclose(normal, expected, atol=5e-6)
    np.testing.assert_array_equal(feature_len, LENGTHS)


@pytest.mark.parametrize("normalize", ["per_feature", "all_features"])
def test_matches_nemo(golden, normalize):
    features, lengths = golden["normbatch/x"].transpose(0, 2, 1), golden["normbatch/lens"]
    normal, _ = FeatureNormalization(normalize, pad_to=0)(features, lengths)
    expected = golden[f"normbatch/{normalize}/y"].transpose(0, 2, 1)
    for row, n in enumerate(lengths):  # NeMo's function leaves what lies beyond to its caller
        np.testing.assert_allclose(normal[row, :n], expected[row, :n], atol=2e-5)


@pytest.mark.parametrize("normalize", ["per_feature", "all_features"])
def test_padding_changes_nothing_even_if_it_is_not_a_number(normalize):
    layer = FeatureNormalization(normalize, pad_to=0)
    padded = np.full((1, 900, 4), np.nan, np.float32)
    padded[:, :13] = FEATURES[:1]
    padded[:, :13, 2] = -16.635532  # digital silence: any rounding of its mean would be magnified
    alone = np.asarray(layer(padded[:, :13], LENGTHS[:1])[0])
    together = np.asarray(layer(padded, LENGTHS[:1])[0])
    np.testing.assert_allclose(together[:, :13], alone, atol=1e-6)
    assert not together[:, 13:].any()
    if normalize == "per_feature":
        assert not alone[..., 2].any()


@pytest.mark.parametrize("settings", [{}, {"normalize": "all_features", "pad_value": 1.0}, {"normalize": None}, FIXED])
def test_travels(assert_layer_travels, settings):
    assert_layer_travels(FeatureNormalization(**settings), FEATURES, LENGTHS)


@pytest.mark.parametrize(
    "arguments",
    [
        {"normalize": "per_utterance"},
        {"normalize": "fixed", "fixed_mean": [0.0]},
        {"fixed_mean": [0.0], "fixed_std": [1.0]},
        {"pad_to": -1},
        {"pad_to": "max"},
    ],
)
def test_impossible_arguments(arguments):
    with pytest.raises(UserError, match="preprocessor"):
        FeatureNormalization(**arguments)


@pytest.mark.parametrize("settings", [{"normalize": n} for n in ("per_feature", "all_features", None)] + [FIXED])
def test_given_statistics_take_the_place_of_the_utterances_own(settings):
    layer = FeatureNormalization(**settings, pad_to=8, pad_value=-2.5)
    per_feature = settings.get("normalize") != "all_features"
    for row, length in zip(FEATURES, LENGTHS[:4], strict=False):
        mean, std = RunningStatistics().add(row[:length]).moments(per_feature)
        given = layer.normalize_with(row[None], [length], mean, std)
        own = layer(row[None], [length])
        np.testing.assert_allclose(given[0], own[0], atol=1e-4)
        np.testing.assert_array_equal(given[1], own[1])
