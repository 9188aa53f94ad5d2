import math

import numpy as np
import pytest

from jasper_tf.data.augment import AudioAugmentor, fit_length, sped_length
from jasper_tf.errors import UserError

RATE_HZ = 16000
ALL = {
    "speed": {"prob": 0.7, "min_speed_rate": 0.85, "max_speed_rate": 1.2},
    "gain": {"prob": 0.5, "min_gain_dbfs": -6.0, "max_gain_dbfs": 3.0},
    "white_noise": {"prob": 0.5, "min_level": -70.0, "max_level": -50.0},
}


def always(name, low, high):
    keys = {"speed": "speed_rate", "gain": "gain_dbfs", "white_noise": "level"}
    return {name: {"prob": 1.0, f"min_{keys[name]}": low, f"max_{keys[name]}": high}}


def tone(samples, frequency_hz=440.0, dtype=np.float32):
    return (0.3 * np.sin(2 * np.pi * frequency_hz / RATE_HZ * np.arange(samples, dtype=np.float64))).astype(dtype)


@pytest.mark.parametrize("rate", [0.8, 0.9, 0.97, 1.03, 1.1, 1.25])
def test_speed_length_level_and_pitch_against_a_float64_tone(rate):
    augmentor = AudioAugmentor(always("speed", rate, rate))
    audio = tone(20_001)
    sped = augmentor(audio, rate, 0, 0)
    assert sped.dtype == np.float32
    assert len(sped) == math.ceil(20_001 / rate) == sped_length(20_001, rate)
    # A tone played `rate` times as fast is the tone of `rate` times the frequency, as loud as before.
    expected = tone(len(sped), 440.0 * rate, np.float64)
    middle = slice(400, -400)
    np.testing.assert_allclose(sped[middle], expected[middle], rtol=0, atol=2e-4)


def test_gain_is_exact_in_decibels():
    audio = tone(1000)
    louder = AudioAugmentor(always("gain", 6.0, 6.0))(audio, 1.0, 0, 0)
    np.testing.assert_allclose(louder, audio.astype(np.float64) * 10 ** (6 / 20), rtol=1e-6)
    gains = [
        20 * np.log10(AudioAugmentor(always("gain", -6.0, 3.0))(audio, 1.0, 0, i)[7] / audio[7]) for i in range(200)
    ]
    assert -6.001 < min(gains) < -5.5 and 2.5 < max(gains) < 3.001


def test_white_noise_level_is_its_rms():
    audio = np.zeros(200_000, np.float32)
    noise = AudioAugmentor(always("white_noise", -40.0, -40.0))(audio, 1.0, 0, 0)
    assert abs(20 * np.log10(np.sqrt(np.mean(noise.astype(np.float64) ** 2))) + 40) < 0.1
    assert abs(np.mean(noise)) < 1e-4
    assert abs(np.mean(noise[1:] * noise[:-1])) < 1e-6  # white


def test_draws_depend_on_seed_epoch_and_utterance_only():
    audio = tone(4000)
    augmentor = AudioAugmentor(ALL, seed=1)
    rates = augmentor.speed_rates(2, 50)
    first = [augmentor(audio, rates[i], 2, i) for i in range(50)]
    again = AudioAugmentor(ALL, seed=1)
    np.testing.assert_array_equal(again.speed_rates(2, 50), rates)
    for i in reversed(range(50)):
        np.testing.assert_array_equal(again(audio, rates[i], 2, i), first[i])
    assert (augmentor.speed_rates(3, 50) != rates).any()
    assert (AudioAugmentor(ALL, seed=2).speed_rates(2, 50) != rates).any()
    # Gain and noise: at one rate the sound still differs from utterance to utterance, epoch to epoch, seed to seed.
    loud = AudioAugmentor(always("gain", -10.0, 10.0), seed=1)
    other = AudioAugmentor(always("gain", -10.0, 10.0), seed=2)
    values = {float(x[5]) for x in (loud(audio, 1.0, 2, 3), loud(audio, 1.0, 2, 4), loud(audio, 1.0, 3, 3))}
    assert len(values | {float(other(audio, 1.0, 2, 3)[5])}) == 4


def test_probability_and_range_of_speed():
    augmentor = AudioAugmentor(ALL, seed=4)
    rates = augmentor.speed_rates(0, 4000)
    changed = rates[rates != 1.0]
    assert abs(len(changed) / 4000 - 0.7) < 0.03
    assert 0.85 <= changed.min() < 0.86 and 1.19 < changed.max() <= 1.2
    assert augmentor.speeds == (0.85, 1.2)
    # An utterance that is left alone has speed 1, whatever the range.
    assert AudioAugmentor(always("speed", 1.1, 1.2)).speeds == (1.0, 1.2)
    assert AudioAugmentor({"gain": None}).speeds == (1.0, 1.0)
    assert (AudioAugmentor({"gain": None}).speed_rates(0, 3) == 1.0).all()


def test_probability_zero_changes_nothing():
    audio = tone(1000)
    off = {name: {"prob": 0.0} for name in ALL}
    augmentor = AudioAugmentor(off)
    assert (augmentor.speed_rates(0, 100) == 1.0).all()
    np.testing.assert_array_equal(augmentor(audio, 1.0, 0, 0), audio)


def test_what_nemo_demands_of_speed_is_accepted():
    nemo = {"speed": {"prob": 0.5, "sr": 16000, "resample_type": "kaiser_fast", "min_speed_rate": 0.95}}
    assert AudioAugmentor(nemo).speeds == (0.95, 1.1)


@pytest.mark.parametrize(
    ("spec", "part"),
    [
        ({"reverb": {}}, "augmentor.reverb: unknown perturbation"),
        ({"gain": {"loudness": 3}}, "augmentor.gain.loudness: unknown key"),
        ({"gain": {"min_gain_dbfs": 3, "max_gain_dbfs": -3}}, "augmentor.gain: needs"),
        ({"gain": {"prob": 1.5}}, "augmentor.gain: needs"),
        ({"speed": {"min_speed_rate": 0.0}}, "augmentor.speed: needs"),
        ({"speed": {"prob": "often"}}, "augmentor.speed.prob: 'often' is not a number"),
        ({"speed": {"prob": True}}, "augmentor.speed.prob: True is not a number"),
        ({"speed": {"max_speed_rate": math.inf}}, "augmentor.speed.max_speed_rate: inf is not a number"),
        ({"speed": 0.5}, "augmentor.speed: 0.5 is not a mapping"),
    ],
)
def test_mistakes_are_named(spec, part):
    with pytest.raises(UserError) as raised:
        AudioAugmentor(spec)
    assert part in str(raised.value) and "\n" not in str(raised.value)


def test_fit_length():
    assert fit_length(np.arange(3), 2).tolist() == [0, 1]
    assert fit_length(np.arange(3), 3).tolist() == [0, 1, 2]
    assert fit_length(np.arange(3), 5).tolist() == [0, 1, 2, 0, 0]
