"""Shift against slices, the telephone's band against the spectrum and against G.711 by its formula."""

import numpy as np
import pytest

from jasper_tf.data.augment import AudioAugmentor
from jasper_tf.errors import UserError

RATE_HZ = 16000


@pytest.mark.parametrize(("shift_ms", "samples"), [(10.0, 160), (-10.0, -160), (0.0, 0), (0.03, 0), (-250.0, -4000)])
def test_shift_against_slices(speech, shift_ms, samples):
    audio = speech(8000)
    before = audio.copy()
    moved = AudioAugmentor({"shift": {"prob": 1, "min_shift_ms": shift_ms, "max_shift_ms": shift_ms}})(audio, 1.0, 0, 0)
    expected = np.pad(audio, 8000)[8000 + samples : 16000 + samples]
    np.testing.assert_array_equal(moved, expected)
    np.testing.assert_array_equal(audio, before)


def test_shift_is_uniform_and_in_milliseconds_at_every_rate():
    audio = np.zeros(4000, np.float32)
    audio[2000] = 1
    at = {}
    for rate_hz in (8000, RATE_HZ):
        augmentor = AudioAugmentor({"shift": {"prob": 1}}, sample_rate=rate_hz)
        at[rate_hz] = [2000 - int(np.argmax(augmentor(audio, 1.0, 0, i))) for i in range(200)]
    assert -80 <= min(at[RATE_HZ]) < -70 and 70 < max(at[RATE_HZ]) <= 80
    assert all(abs(wide - 2 * narrow) <= 1 for wide, narrow in zip(at[RATE_HZ], at[8000], strict=True))
    longer = AudioAugmentor({"shift": {"prob": 1, "min_shift_ms": 300, "max_shift_ms": 400}})
    np.testing.assert_array_equal(longer(audio, 1.0, 0, 0), audio)


def share_above(audio, hz):
    power = np.abs(np.fft.rfft(audio.astype(np.float64) * np.hanning(len(audio)))) ** 2
    frequency = np.fft.rfftfreq(len(audio), 1 / RATE_HZ)
    return power[frequency > hz].sum() / power.sum()


@pytest.mark.parametrize("mu_law", [False, True])
@pytest.mark.parametrize("narrow_hz", [8000, 11025])
def test_the_band_above_is_empty_and_the_band_below_untouched(mu_law, narrow_hz):
    audio = np.random.default_rng(0).normal(0, 0.1, 20001).astype(np.float32)
    values = {"prob": 1, "sample_rate": narrow_hz, "mu_law": mu_law}
    heard = AudioAugmentor({"band_limit": values})(audio, 1.0, 0, 0)
    assert heard.dtype == np.float32 and heard.shape == audio.shape
    assert share_above(audio, narrow_hz / 2) > 0.2 and share_above(heard, narrow_hz / 2 + 50) < 1e-9
    # Below 0.9 of its band: the same, but for the steps of mu-law.
    keep = np.fft.rfftfreq(20001, 1 / RATE_HZ) < 0.45 * narrow_hz
    below, heard_below = (
        np.fft.irfft(np.fft.rfft(x.astype(np.float64)) * keep, 20001)[500:-500] for x in (audio, heard)
    )
    error = np.sqrt(np.mean((below - heard_below) ** 2) / np.mean(below**2))
    assert 0.005 < error < 0.02 if mu_law else error < 1e-3


def test_mu_law_is_that_of_g711():
    """At 0.9 of full scale a step is 1/16 of its segment: the formula F(x) = ln(1 + 255 |x|) / ln 256 in 8 bits."""
    wave = 0.5 * np.sin(2 * np.pi * 440 / RATE_HZ * np.arange(16000))
    values = {"prob": 1, "mu_law": True}
    heard = AudioAugmentor({"band_limit": values})(wave.astype(np.float32), 1.0, 0, 0)
    coded = np.sign(wave) * np.round(np.log1p(255 * np.abs(wave)) / np.log(256) * 127) / 127
    decoded = np.sign(coded) * np.expm1(np.abs(coded) * np.log(256)) / 255
    twin, ours = (np.sqrt(np.mean((x - wave)[800:-800] ** 2)) for x in (decoded, heard))
    assert 0.5 * twin < ours < 1.5 * twin
    plain = AudioAugmentor({"band_limit": {"prob": 1}})(wave.astype(np.float32), 1.0, 0, 0)
    assert np.abs(plain - wave)[800:-800].max() < 1e-3 < np.abs(heard - wave)[800:-800].max()
    loud = AudioAugmentor({"band_limit": values})(4 * wave.astype(np.float32), 1.0, 0, 0)
    assert np.abs(loud).max() < 1.4  # clipped, not wrapped around


@pytest.mark.parametrize(
    ("values", "sample_rate", "part"),
    [
        ({"sample_rate": 16000}, 16000, "augmentor.band_limit.sample_rate: 16000 Hz limits nothing"),
        ({}, 8000, "below the model's 8000 Hz"),
        ({"sample_rate": 0}, 16000, "band_limit.sample_rate: 0 is out of range; use a whole number, at least 1,000"),
        ({"mu_law": 1}, 16000, "augmentor.band_limit.mu_law: expected true or false, got 1"),
        ({"sample_rate": 8000.5}, 16000, "augmentor.band_limit.sample_rate: expected a whole number, got 8000.5"),
    ],
)
def test_mistakes_are_named(values, sample_rate, part):
    with pytest.raises(UserError) as raised:
        AudioAugmentor({"band_limit": values}, sample_rate=sample_rate)
    assert part in str(raised.value)
