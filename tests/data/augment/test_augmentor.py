import json
import math
from collections import Counter

import numpy as np
import pytest
import soxr

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
        ({"reverb": {}}, "augmentor.reverb: unknown key; nearest known key: "),
        ({"gain": {"loudness": 3}}, "augmentor.gain.loudness: unknown key; nearest known key: augmentor.gain."),
        ({"gain": {"min_gain_dbfs": 3, "max_gain_dbfs": -3}}, "gain.min_gain_dbfs: 3.0 is above max_gain_dbfs, -3.0"),
        ({"gain": {"prob": 1.5}}, "augmentor.gain.prob: 1.5 is out of range"),
        ({"speed": {"min_speed_rate": 0.0}}, "speed.min_speed_rate: 0.0 is out of range; use a number, at least 0.1"),
        ({"speed": {"prob": "often"}}, "augmentor.speed.prob: expected a number, got 'often'"),
        ({"speed": {"prob": True}}, "augmentor.speed.prob: expected a number, got true"),
        ({"speed": {"max_speed_rate": math.inf}}, "augmentor.speed.max_speed_rate: inf is out of range"),
        ({"speed": 0.5}, "augmentor.speed: expected a mapping or null, got 0.5"),
        ({"speed": {"num_rates": 2.5}}, "augmentor.speed.num_rates: expected a whole number, got 2.5"),
        ({"speed": {"num_rates": 1}}, "augmentor.speed.num_rates: 1 rate cannot be both ends of 0.9 to 1.1"),
        ({"noise": {"snr_db": 3}}, "augmentor.noise.snr_db: unknown key; nearest known key: augmentor.noise.m"),
        ({"noise": {"recordings": 3}}, "augmentor.noise.recordings: unknown key"),
        ({"noise": {"manifest_path": "m.json", "min_snr_db": 51}}, "noise.min_snr_db: 51.0 is above max_snr_db, 50.0"),
        ({"shift": {"min_shift_ms": 6}}, "augmentor.shift.min_shift_ms: 6.0 is above max_shift_ms, 5.0"),
        ({"impulse": {"shift_impulse": 1}}, "augmentor.impulse.shift_impulse: expected true or false, got 1"),
    ],
)
def test_mistakes_are_named(spec, part):
    with pytest.raises(UserError) as raised:
        AudioAugmentor(spec)
    assert part in str(raised.value) and "\n" not in str(raised.value)


def everything(listed, speech):
    """Every perturbation, each drawn for about every second utterance."""
    noises = listed("noises", [speech(n, seed=n) for n in (3000, 9000, 20000)])
    rooms = listed("rooms", [np.eye(1, 400, 30)[0] + 0.1 * speech(400, seed=n) for n in (1, 2)])
    return ALL | {
        "shift": {"prob": 0.5, "min_shift_ms": -20, "max_shift_ms": 20},
        "impulse": {"prob": 0.5, "manifest_path": rooms},
        "noise": {"prob": 0.5, "manifest_path": noises, "min_snr_db": 0, "max_snr_db": 20},
        "band_limit": {"prob": 0.5, "mu_law": True},
    }


def test_the_draws_of_speed_gain_and_white_noise_are_those_of_former_releases():
    """Trained figures depend on them."""
    audio = tone(3000)
    augmentor = AudioAugmentor(ALL, seed=3)
    generator = np.random.default_rng((3, 2, 40))
    chosen, rates = generator.random(40) < 0.7, generator.uniform(0.85, 1.2, 40)
    rates = np.where(chosen, rates, 1.0)
    np.testing.assert_array_equal(augmentor.speed_rates(2, 40), rates)
    for index in range(40):
        expected = audio
        if rates[index] != 1:
            expected = soxr.resample(expected, rates[index], 1.0, quality="HQ")
            expected = fit_length(expected, math.ceil(3000 / rates[index]))
        generator = np.random.default_rng((3, 2, index, 1))
        if generator.random() < 0.5:
            expected = expected * np.float32(10 ** (generator.uniform(-6, 3) / 20))
        if generator.random() < 0.5:
            level = np.float32(10 ** (generator.uniform(-70, -50) / 20))
            expected = expected + level * generator.standard_normal(len(expected), np.float32)
        np.testing.assert_array_equal(augmentor(audio, rates[index], 2, index), expected)


def test_every_length_is_that_of_the_speed_alone(listed, speech):
    augmentor = AudioAugmentor(everything(listed, speech))
    for samples in (1, 2, 777, 16000):
        audio = speech(samples)
        before = audio.copy()
        for index, rate in enumerate((0.85, 1.0, 1.0, 1.0, 1.2)):
            changed = augmentor(audio, rate, 0, index)
            assert changed.dtype == np.float32 and len(changed) == math.ceil(samples / rate)
            assert np.isfinite(changed).all()
        np.testing.assert_array_equal(audio, before)


def test_one_perturbation_does_not_change_the_draws_of_another(listed, speech):
    """Added up one by one: what the chain does is each of them, as it does it alone, one behind the other."""
    spec = everything(listed, speech)
    together = AudioAugmentor(dict(reversed(spec.items())), seed=9)  # nor does their order in the file
    pair = {"gain", "white_noise"}
    alone = [AudioAugmentor({name: spec[name]}, seed=9) for name in ("shift", "impulse", "noise")]
    alone += [AudioAugmentor({name: spec[name] for name in pair}, seed=9)]
    alone += [AudioAugmentor({"band_limit": spec["band_limit"]}, seed=9)]
    rates = AudioAugmentor({"speed": spec["speed"]}, seed=9).speed_rates(1, 60)
    np.testing.assert_array_equal(together.speed_rates(1, 60), rates)
    counts = np.zeros(len(alone), int)
    for index in range(60):
        expected = audio = speech(6000, seed=index)
        for number, augmentor in enumerate(alone):
            changed = augmentor(expected, 1.0, 1, index)
            counts[number] += not np.array_equal(changed, expected)
            expected = changed
        np.testing.assert_array_equal(together(audio, 1.0, 1, index), expected)
    assert (counts > 15).all() and (counts < 60).all()


def test_every_draw_is_a_function_of_seed_epoch_and_utterance(listed, speech):
    spec = everything(listed, speech)
    audio = speech(6000)
    first = AudioAugmentor(spec, seed=1)
    heard = {(epoch, i): first(audio, 1.0, epoch, i) for epoch in (0, 1) for i in range(12)}
    again = AudioAugmentor(spec, seed=1)
    for epoch, i in reversed(heard):
        np.testing.assert_array_equal(again(audio, 1.0, epoch, i), heard[epoch, i])
    names = [name for name in spec if name not in ("speed", "band_limit")]  # a band limit draws only whether
    for name in names:
        always = {name: spec[name] | {"prob": 1}}
        one, other = AudioAugmentor(always, seed=1), AudioAugmentor(always, seed=2)
        found = [one(audio, 1.0, 0, 0), one(audio, 1.0, 0, 1), one(audio, 1.0, 1, 0), other(audio, 1.0, 0, 0)]
        assert len({x.tobytes() for x in found}) > (1 if name == "impulse" else 3), name


def test_batches_of_any_size_and_a_resume_hear_the_same(tiny_config, listed, speech):
    from jasper_tf.training.datasets import build_batches

    def rows(batch_size, first_step=0):
        augmentor = json.dumps(everything(listed_once, speech))
        cfg = tiny_config(f"model.train_ds.batch_size={batch_size}", f"model.train_ds.augmentor={augmentor}")
        batches, _ = build_batches(cfg, "train_ds")
        batches.epoch, batches.first_step = 1, first_step
        found = Counter()
        for x, _ in batches.dataset():
            rows = zip(x["audio"].numpy(), x["audio_len"].numpy(), strict=True)
            found.update(audio[:length].tobytes() for audio, length in rows)
        return found

    made = {}

    def listed_once(name, sounds):
        return made[name] if name in made else made.setdefault(name, listed(name, sounds))

    reference = rows(4)
    assert rows(7) == reference
    rest = rows(4, first_step=3)
    assert 0 < rest.total() < reference.total() == 22 and rest <= reference


def test_discrete_speeds():
    """NeMo: np.linspace(min, max, num_rates), and 1.0 leaves the sound alone."""
    values = {"prob": 1.0, "min_speed_rate": 0.9, "max_speed_rate": 1.1, "num_rates": 5}
    rates = AudioAugmentor({"speed": values}).speed_rates(0, 5000)
    found, counts = np.unique(rates, return_counts=True)
    np.testing.assert_allclose(found, np.linspace(0.9, 1.1, 5), rtol=0, atol=1e-12)
    assert 1.0 in found and (np.abs(counts / 5000 - 0.2) < 0.03).all()
    half = AudioAugmentor({"speed": values | {"prob": 0.5}}).speed_rates(0, 5000)
    assert abs(np.mean(half == 1.0) - 0.6) < 0.03
    for any_rate in (0, -1):
        assert len(np.unique(AudioAugmentor({"speed": values | {"num_rates": any_rate}}).speed_rates(0, 500))) == 500
    assert AudioAugmentor({"speed": values}).speeds == (0.9, 1.1)


def test_fit_length():
    assert fit_length(np.arange(3), 2).tolist() == [0, 1]
    assert fit_length(np.arange(3), 3).tolist() == [0, 1, 2]
    assert fit_length(np.arange(3), 5).tolist() == [0, 1, 2, 0, 0]
