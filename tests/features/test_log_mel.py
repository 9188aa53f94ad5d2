import numpy as np
import pytest
import tensorflow as tf

from jasper_tf.errors import UserError
from jasper_tf.features.log_mel import LogMelSpectrogram
from jasper_tf.features.mel_filterbank import mel_filterbank
from jasper_tf.features.normalize import FeatureNormalization

MODERN = {
    "std": "clean junk short",
    "std_pad16": "clean junk",
    "nonorm": "clean junk",
    **dict.fromkeys(("defaults_train_cfg", "all_features", "all_features_pad16", "exact_pad"), "clean"),
    **dict.fromkeys(("nonorm_nolog", "clamp_guard", "guard_eps", "guard_tiny", "nopreemph", "magpower1"), "two"),
    **dict.fromkeys(("hamming25_80", "bandlimit", "blackman", "bartlett", "padval", "hann25_40"), "two"),
}
LEGACY = {
    "std": "clean junk",
    "nonorm": "clean junk",
    **dict.fromkeys(("std_pad16", "all_features", "exact_pad"), "clean"),
}
CASES = [
    (generation, name, batch)
    for generation, names in (("modern", MODERN), ("legacy", LEGACY))
    for name, batches in names.items()
    for batch in batches.split()
]
RENAMED = {"window_size": "window_size_s", "window_stride": "window_stride_s", "lowfreq": "lowfreq_hz"}
RENAMED["highfreq"] = "highfreq_hz"


def layers_of(config, generation):
    config = {RENAMED.get(k, k): v for k, v in config.items() if k != "frame_splicing"}
    normalization = {k: config.pop(k) for k in ("normalize", "pad_to", "pad_value") if k in config}
    return LogMelSpectrogram(**config, generation=generation), FeatureNormalization(**normalization)


@pytest.mark.parametrize(("generation", "name", "batch"), CASES)
def test_matches_nemo(golden, generation, name, batch):
    log_mel, normalization = layers_of(golden.configs[name], generation)
    features, feature_len = normalization(*log_mel(golden[f"wave/{batch}/x"], golden[f"wave/{batch}/lens"]))
    key = f"{generation}/{name}/{batch}"
    features, expected = np.asarray(features), golden[f"{key}/y"].transpose(0, 2, 1)
    if f"{key}/rows" in golden:
        features = features[golden[f"{key}/rows"]]
    np.testing.assert_array_equal(feature_len, golden[f"{key}/lens"])
    assert features.shape == expected.shape
    error = np.abs(features - expected)
    # Two float32 Fourier transforms part in nearly silent bins, most where no guard lifts them or frames are cut off.
    assert error.max() < (1e-3 if name in ("guard_tiny", "exact_pad") else 4.3e-4)
    assert np.quantile(error, 0.999) < 4e-4


def test_training_without_dither_is_evaluation(golden):
    log_mel, normalization = layers_of(golden.configs["std"], "modern")
    features, _ = normalization(*log_mel(golden["wave/two/x"], golden["wave/two/lens"], training=True))
    expected = golden["modern/std/two_trainmode_nodither/y"].transpose(0, 2, 1)
    np.testing.assert_allclose(features, expected, atol=4.3e-4)


def float64_twin(audio, window, n_fft, hop, features):
    """One utterance, modern generation, straight from the definition."""
    emphasised = np.concatenate([audio[:1], audio[1:] - 0.97 * audio[:-1]])
    padded = np.pad(emphasised, n_fft // 2)
    left = (n_fft - len(window)) // 2
    rows = []
    for frame in range(len(audio) // hop):
        piece = padded[frame * hop + left : frame * hop + left + len(window)] * window
        rows.append(np.abs(np.fft.rfft(piece, n_fft)) ** 2)
    return np.log(np.array(rows) @ mel_filterbank(16000, n_fft, features).astype(np.float64) + 2.0**-24)


@pytest.mark.parametrize("samples", [160, 511, 4000])
def test_matches_the_definition_in_float64(samples):
    audio = 0.1 * np.random.default_rng(samples).standard_normal(samples)
    # The symmetric Hann window, written out.
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(320) / 319)
    features, feature_len = LogMelSpectrogram()(audio[None].astype(np.float32), np.array([samples]))
    assert int(feature_len[0]) == samples // 160
    assert features.shape[1] == 1 + samples // 160
    np.testing.assert_allclose(features[0, : samples // 160], float64_twin(audio, hann, 512, 160, 64), atol=1e-4)


def test_padding_changes_nothing_even_if_it_is_not_a_number():
    rng = np.random.default_rng(0)
    audio = 0.1 * rng.standard_normal((3, 7000)).astype(np.float32)
    lengths = np.array([7000, 3210, 0])
    audio[1, 3210:] = np.nan
    audio[2] = np.inf
    log_mel, normalization = LogMelSpectrogram(), FeatureNormalization()
    together, together_len = log_mel(audio, lengths)
    normal, _ = normalization(together, together_len)
    assert np.isfinite(normal).all()
    alone, alone_len = log_mel(audio[1:2, :3210], lengths[1:2])
    frames = int(alone_len[0])
    assert frames == together_len[1] == 20
    np.testing.assert_allclose(together[1, :frames], alone[0, :frames], atol=1e-5)
    np.testing.assert_allclose(normal[1, :frames], normalization(alone, alone_len)[0][0, :frames], atol=1e-5)
    assert not np.asarray(normal)[2].any()


def test_legacy_reflects_and_hears_the_padding():
    audio = np.random.default_rng(0).standard_normal((1, 1000)).astype(np.float32)
    layer = LogMelSpectrogram(generation="legacy", preemph=None, n_fft=320)
    features, feature_len = layer(audio, np.array([1000]))
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(320) / 319)
    first = np.pad(audio[0].astype(np.float64), 160, "reflect")[:320] * hann
    expected = np.log(np.abs(np.fft.rfft(first)) ** 2 @ mel_filterbank(16000, 320, 64) + 2.0**-24)
    np.testing.assert_allclose(features[0, 0], expected, atol=1e-4)
    assert feature_len[0] == 7
    junk = np.concatenate([audio, np.ones((1, 200), np.float32)], 1)
    assert np.abs(np.asarray(layer(junk, np.array([1000]))[0])[0, 6] - np.asarray(features)[0, 6]).max() > 0.1
    short, short_len = layer(audio[:, :50], np.array([50]))
    assert np.isfinite(short).all() and short_len[0] == 1


@pytest.mark.parametrize("arguments", [{}, {"generation": "legacy"}, {"exact_pad": True}])
def test_frames_of_each_generation(arguments):
    layer = LogMelSpectrogram(**arguments)
    lengths = np.array([0, 1, 159, 160, 161, 319, 320, 321, 16000])
    _, feature_len = layer(np.zeros((len(lengths), 16000), np.float32), lengths)
    offset = {"legacy": 1}.get(layer.generation, -1 if layer.exact_pad else 0)
    assert feature_len.numpy().tolist() == [max(0, n // 160 + offset) if n else 0 for n in lengths]


def test_dither_only_in_training_and_repeats_with_its_seed():
    audio, lengths = np.zeros((2, 3200), np.float32), np.array([3200, 3200])
    layer = LogMelSpectrogram(dither=1e-2, seed=3)
    silent = np.asarray(layer(audio, lengths)[0])
    np.testing.assert_allclose(silent, np.log(2.0**-24), rtol=1e-6)
    first = np.asarray(layer(audio, lengths, training=True)[0])
    second = np.asarray(layer(audio, lengths, training=True)[0])
    again = np.asarray(LogMelSpectrogram(dither=1e-2, seed=3)(audio, lengths, training=True)[0])
    other = np.asarray(LogMelSpectrogram(dither=1e-2, seed=4)(audio, lengths, training=True)[0])
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - second).max() > 0.1
    assert np.abs(first - other).max() > 0.1
    assert np.abs(first[0] - first[1]).max() > 0.1


def test_dither_has_the_asked_deviation():
    layer = LogMelSpectrogram(dither=0.01, preemph=None, window="none", log=False, mel_norm=None)
    energies, _ = layer(np.zeros((4, 64000), np.float32), np.full(4, 64000), training=True)
    # White noise of deviation s has |STFT|^2 = s^2 * window samples in each bin.
    expected = 0.01**2 * 320 * mel_filterbank(16000, 512, 64, mel_norm=None).sum(0)
    np.testing.assert_allclose(np.asarray(energies)[:, 2:-2].mean((0, 1)), expected, rtol=0.1)


def test_travels(assert_layer_travels):
    audio = 0.1 * np.random.default_rng(1).standard_normal((3, 1700)).astype(np.float32)
    assert_layer_travels(LogMelSpectrogram(features=20, seed=5), audio, np.array([1700, 900, 0]))


def test_legacy_travels(assert_layer_travels):
    audio = 0.1 * np.random.default_rng(1).standard_normal((2, 1700)).astype(np.float32)
    layer = LogMelSpectrogram(features=20, generation="legacy", exact_pad=True, window="hamming", highfreq_hz=7000.0)
    assert_layer_travels(layer, audio, np.array([1700, 900]))


def test_compiles_with_xla():
    audio = 0.1 * np.random.default_rng(1).standard_normal((2, 1600)).astype(np.float32)
    layer = LogMelSpectrogram()
    compiled = tf.function(lambda a, n: layer(a, n)[0], jit_compile=True)(audio, np.array([1600, 800], np.int32))
    np.testing.assert_allclose(compiled, layer(audio, np.array([1600, 800]))[0], atol=1e-3)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"window": "kaiser"}, "window"),
        ({"generation": "old"}, "generation"),
        ({"log_zero_guard_type": "max"}, "log_zero_guard_type"),
        ({"log_zero_guard_value": "small"}, "log_zero_guard_value"),
        ({"n_fft": 256}, "n_fft"),
        ({"window_stride_s": 0.0}, "window_stride"),
        ({"window_stride_s": 161 / 16000, "exact_pad": True}, "exact_pad"),
    ],
)
def test_impossible_arguments(arguments, word):
    with pytest.raises(UserError, match=word):
        LogMelSpectrogram(**arguments)
