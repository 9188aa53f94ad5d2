"""Impulse responses against np.convolve in float64."""

import numpy as np
import pytest

from jasper_tf.data.augment import AudioAugmentor
from jasper_tf.errors import UserError


def room(manifest, **values):
    return AudioAugmentor({"impulse": {"prob": 1.0, "manifest_path": manifest, **values}})


def response(samples, delay, seed=0):
    """A direct path behind `delay` samples, and an echo that dies away."""
    generator = np.random.default_rng(seed)
    echo = 0.3 * generator.normal(0, 1, samples) * np.exp(-np.arange(samples) / (samples / 6))
    echo[:delay] = 0
    echo[delay] = 2.0
    return echo.astype(np.float32)


def rms(audio):
    return np.sqrt(np.mean(np.square(audio, dtype=np.float64)))


@pytest.mark.parametrize(("samples", "taps"), [(8000, 3001), (8192, 1), (500, 4000), (1, 100)])
@pytest.mark.parametrize("shift", [True, False])
def test_against_np_convolve(listed, speech, samples, taps, shift):
    taken = response(taps, min(37, taps - 1))
    audio = speech(samples)
    heard = room(listed("room", [taken]), shift_impulse=shift)(audio, 1.0, 0, 0)
    delay = int(np.argmax(np.abs(taken))) if shift else 0
    expected = np.convolve(audio.astype(np.float64), taken.astype(np.float64))[delay : delay + samples]
    if not expected.any():
        expected = audio.astype(np.float64)
    expected *= rms(audio) / rms(expected)
    assert heard.dtype == np.float32 and heard.shape == audio.shape
    np.testing.assert_allclose(heard, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("delay", [0, 5, 400])
def test_the_direct_path_stays_in_time_and_the_level_stays(listed, delay):
    """A click at 1000 stays at 1000, however far from the microphone the speaker stood."""
    audio = np.zeros(4000, np.float32)
    audio[1000] = 0.5
    heard = room(listed("room", [response(2000, delay)]))(audio, 1.0, 0, 0)
    assert np.argmax(np.abs(heard)) == 1000 and not np.abs(heard[:1000]).max() > 1e-7
    assert np.isclose(rms(heard), rms(audio))
    late = room(listed("late", [response(2000, delay)]), shift_impulse=False)(audio, 1.0, 0, 0)
    assert np.argmax(np.abs(late)) == 1000 + delay


def test_the_level_of_the_response_does_not_matter(listed, speech):
    audio = speech(4000)
    quiet, loud = (room(listed(name, [gain * response(500, 9)])) for name, gain in (("quiet", 1e-3), ("loud", 0.45)))
    np.testing.assert_allclose(quiet(audio, 1.0, 0, 0), loud(audio, 1.0, 0, 0), rtol=0, atol=1e-6)


def test_normalize_impulse_takes_the_mean_off(listed, speech):
    taken = response(500, 9) + np.float32(0.05)
    audio = speech(4000)
    heard = room(listed("room", [taken]), normalize_impulse=True)(audio, 1.0, 0, 0)
    expected = np.convolve(audio.astype(np.float64), taken - taken.astype(np.float64).mean())[9:4009]
    np.testing.assert_allclose(heard, expected * rms(audio) / rms(expected), rtol=0, atol=1e-6)


def test_a_response_at_another_rate_and_a_silent_one(listed, speech):
    # At 48 kHz the same room takes three times the samples.
    heard = room(listed("fast", [np.eye(1, 600, 150)[0]], rate=48000))(speech(4000), 1.0, 0, 0)
    np.testing.assert_allclose(np.corrcoef(heard, speech(4000))[0, 1], 1.0, atol=0.02)
    with pytest.raises(UserError, match=r"augmentor\.impulse: .*0\.wav: this impulse response is silent"):
        room(listed("silent", [np.zeros(100)]))(speech(4000), 1.0, 0, 0)
