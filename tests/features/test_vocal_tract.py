import keras
import numpy as np
import pytest
import tensorflow as tf

from jasper_tf.errors import UserError
from jasper_tf.features.log_mel import LogMelSpectrogram
from jasper_tf.features.mel_filterbank import hz_to_mel, mel_to_hz
from jasper_tf.features.vocal_tract import VocalTractPerturbation


def features(batch=3, frames=7, bands=64, seed=0):
    return np.random.default_rng(seed).normal(-5, 3, (batch, frames, bands)).astype(np.float32)


def twin(x, warp, lowfreq_hz=0.0, highfreq_hz=8000.0, cutoff_hz=4800.0, nyquist_hz=8000.0):
    """Jaitly and Hinton's equation, band by band, in float64."""
    centres = np.linspace(hz_to_mel(lowfreq_hz), hz_to_mel(highfreq_hz), x.shape[-1] + 2)[1:-1]
    out = np.zeros(x.shape)
    for band, mel in enumerate(centres):
        hz = float(mel_to_hz(mel))
        edge = cutoff_hz * min(warp, 1)
        if hz <= edge / warp:
            warped = hz * warp
        else:
            warped = nyquist_hz - (nyquist_hz - edge) / (nyquist_hz - edge / warp) * (nyquist_hz - hz)
        for row in np.ndindex(x.shape[:2]):
            out[row + (band,)] = np.interp(hz_to_mel(warped), centres, x[row].astype(np.float64))
    return out


@pytest.mark.parametrize("warp", [0.5, 0.88, 1.0, 1.1, 1.6])
@pytest.mark.parametrize("bands", [{}, {"lowfreq_hz": 60.0, "highfreq_hz": 7600.0, "cutoff_hz": 3000.0}])
def test_follows_the_paper(warp, bands):
    bands = {"cutoff_hz": 3900.0} | bands
    x = features()
    layer = VocalTractPerturbation(min_warp=warp, max_warp=warp, **bands)
    np.testing.assert_allclose(layer(x, training=True), twin(x, warp, **bands), rtol=0, atol=2e-4)


@pytest.mark.parametrize("warp", [0.88, 1.12])
def test_a_tone_comes_to_the_band_of_its_warped_frequency(warp):
    log_mel, seconds = LogMelSpectrogram(dither=0.0), np.arange(16000) / 16000
    layer = VocalTractPerturbation(min_warp=warp, max_warp=warp)

    def loudest(hz, warped):
        audio = np.sin(2 * np.pi * hz * seconds).astype(np.float32)[None]
        mels, _ = log_mel(audio, np.array([16000]))
        return int(np.argmax(np.asarray(layer(mels, training=warped))[0, 50]))

    for hz in (700, 1500, 3500):
        assert loudest(hz, True) == loudest(hz / warp, False) != loudest(hz, False)


def test_not_outside_training_and_only_with_its_probability():
    x = features(batch=2000, frames=1, bands=8)
    np.testing.assert_array_equal(VocalTractPerturbation(min_warp=0.5, max_warp=0.6, cutoff_hz=2000.0)(x), x)
    out = np.asarray(VocalTractPerturbation(min_warp=0.5, max_warp=0.6, cutoff_hz=2000.0, prob=0.3)(x, training=True))
    changed = np.abs(out - x).max((1, 2)) > 1e-3
    assert changed.mean() == pytest.approx(0.3, abs=0.05)
    np.testing.assert_allclose(out[~changed], x[~changed], atol=1e-5)


def test_warps_differ_by_utterance_and_call_and_repeat_with_the_seed():
    x = np.repeat(features(1), 200, 0)
    first, again, other = (VocalTractPerturbation(seed=seed) for seed in (1, 1, 2))
    out = np.asarray(first(x, training=True))
    np.testing.assert_array_equal(out, again(x, training=True))
    assert len({row.tobytes() for row in out}) > 100
    assert (out != np.asarray(first(x, training=True))).any()
    assert (out != np.asarray(other(x, training=True))).any()


def test_padding_changes_nothing():
    x = features(2, frames=30)
    padded = np.concatenate([x, np.zeros((2, 11, 64), np.float32)], axis=1)
    alone, together = (VocalTractPerturbation(seed=3)(y, training=True) for y in (x, padded))
    np.testing.assert_allclose(alone, together[:, :30], atol=1e-5)


def test_in_a_saved_model(tmp_path):
    inputs = keras.Input((None, 40))
    layer = VocalTractPerturbation(8000, 100.0, 3800.0, 0.85, 1.2, 0.7, 2500.0, seed=9)
    keras.Model(inputs, layer(inputs)).save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras").layers[-1]
    assert loaded.get_config() == layer.get_config()
    x = features(bands=40)
    np.testing.assert_array_equal(loaded(x, training=True), layer(x, training=True))
    assert layer.compute_output_shape((2, None, 40)) == (2, None, 40)
    assert tf.function(lambda y: layer(y, training=True))(x).dtype == "float32"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"min_warp": 1.2}, r"vocal_tract: min_warp 1\.2 and max_warp 1\.1 must satisfy"),
        ({"max_warp": 2.5}, r"vocal_tract: .* <= 2"),
        ({"cutoff_hz": 7900.0}, r"vocal_tract\.cutoff_hz: 7900 Hz is not below half the sample rate"),
    ],
)
def test_mistakes(arguments, line):
    with pytest.raises(UserError, match=line):
        VocalTractPerturbation(**arguments)
