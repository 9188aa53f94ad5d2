"""Noise against a float64 mix: the ratio really met, the place, what is read."""

import json
import os

import numpy as np
import pytest
import soundfile

from jasper_tf.data.augment import AudioAugmentor
from jasper_tf.errors import UserError

RATE_HZ = 16000


def noisy(manifest, **values):
    return AudioAugmentor({"noise": {"prob": 1.0, "manifest_path": manifest, **values}})


def snr_db(speech, noise):
    power = [np.mean(np.square(x, dtype=np.float64)) for x in (speech, noise)]
    return 10 * np.log10(power[0] / power[1])


@pytest.mark.parametrize("snr", [-5.0, 0.0, 12.5, 30.0])
def test_the_ratio_of_a_long_noise_is_met(listed, speech, snr):
    noise = speech(5 * RATE_HZ, seed=1)
    augmentor = noisy(listed("long", [noise]), min_snr_db=snr, max_snr_db=snr)
    audio = speech(30001)
    starts = set()
    for index in range(8):
        mixed = augmentor(audio, 1.0, 0, index)
        assert mixed.dtype == np.float32 and mixed.shape == audio.shape
        added = mixed.astype(np.float64) - audio
        assert abs(snr_db(audio, added) - snr) < 0.01
        # It is a stretch of the noise, scaled.
        size = 1 << 18
        match = np.fft.irfft(np.fft.rfft(noise, size) * np.conj(np.fft.rfft(added, size)), size)
        start = int(np.argmax(match))
        stretch = noise[start : start + len(audio)].astype(np.float64)
        scale = np.dot(stretch, added) / np.dot(stretch, stretch)
        np.testing.assert_allclose(added, scale * stretch, rtol=0, atol=1e-6)
        starts.add(start)
    assert len(starts) == 8 and max(starts) > 20000


def test_a_short_noise_is_added_once_at_its_own_ratio(listed, speech):
    noise = speech(4000, seed=2)
    augmentor = noisy(listed("short", [noise]), min_snr_db=7, max_snr_db=7)
    audio = speech(20000)
    starts = set()
    for index in range(20):
        added = augmentor(audio, 1.0, 0, index).astype(np.float64) - audio
        (touched,) = np.nonzero(np.abs(added) > 1e-7)
        start = int(touched[0])
        starts.add(start // 2000)
        assert touched[-1] - start < 4000
        assert abs(snr_db(audio, added[start : start + 4000]) - 7) < 0.02
    assert len(starts) > 4


def test_every_recording_and_every_ratio_is_drawn(listed, speech):
    sounds = [np.full(RATE_HZ, 0.1 * (1 + number)) for number in range(3)]
    augmentor = noisy(listed("three", sounds), min_snr_db=0, max_snr_db=20)
    audio = speech(8000)
    ratios = [snr_db(audio, augmentor(audio, 1.0, 0, i).astype(np.float64) - audio) for i in range(150)]
    assert 0 <= min(ratios) < 1 and 19 < max(ratios) <= 20.01


def test_max_gain_bounds_what_the_noise_is_raised_by(listed, speech):
    quiet = 1e-4 * speech(RATE_HZ, seed=3)
    augmentor = noisy(listed("quiet", [quiet]), min_snr_db=0, max_snr_db=0, max_gain_db=20)
    audio = speech(RATE_HZ)
    added = augmentor(audio, 1.0, 0, 0).astype(np.float64) - audio
    assert abs(20 * np.log10(np.abs(added).max() / np.abs(quiet).max()) - 20) < 0.1


def test_silence_changes_nothing_and_is_never_divided_by(listed, speech):
    silent = noisy(listed("silent", [np.zeros(20000)]))
    np.testing.assert_array_equal(silent(speech(8000), 1.0, 0, 0), speech(8000))
    loud = noisy(listed("loud", [speech(20000)]))
    np.testing.assert_array_equal(loud(np.zeros(8000, np.float32), 1.0, 0, 0), np.zeros(8000))


def test_other_rates_offset_and_duration(listed, speech):
    """The part of a 48 kHz file that the manifest names, and nothing else of it."""
    sound = np.concatenate([np.full(48000, 0.9), 0.01 * np.ones(96000), np.full(48000, 0.9)])
    augmentor = noisy(listed("part", [sound], rate=48000, offset=1.0, duration=2.0), min_snr_db=3, max_snr_db=3)
    audio = speech(16000)
    for index in range(10):
        added = augmentor(audio, 1.0, 0, index).astype(np.float64) - audio
        assert abs(snr_db(audio, added) - 3) < 0.02
        assert np.abs(added[200:-200]).max() < 1.3 * np.abs(added[200:-200]).min()


def test_manifest_keys_of_nemo_are_accepted(listed, speech):
    path = listed("nemo", [speech(20000)], label="noise", text="-", orig_sr=16000)
    augmentor = noisy(path, orig_sr=16000, shuffle_n=100, rng=None)
    assert len(augmentor.chain["noise"].recordings) == 1
    assert len(noisy([path, path]).chain["noise"].recordings) == 2
    assert len(noisy(f"{path},{path}").chain["noise"].recordings) == 2


def message(spec):
    with pytest.raises(UserError) as raised:
        AudioAugmentor(spec)
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize("name", ["noise", "impulse"])
def test_wrong_manifests_are_named_with_the_key(tmp_path, name):
    path = tmp_path / "m.json"

    def line(content):
        path.write_bytes(content)
        return message({name: {"manifest_path": str(path)}})

    start = f"augmentor.{name}.manifest_path: "
    assert f"{start}this key is missing; give a string or a list of strings" in message({name: {}})
    assert f"{start}expected a string or a list of strings, got 3" in message({name: {"manifest_path": 3}})
    for empty in ("", []):
        assert f"{start}names no manifest" in message({name: {"manifest_path": empty}})
    assert message({name: {"manifest_path": str(path)}}) == (
        f"{start}{path}: no such file; check the path of this manifest"
    )
    assert line(b"\n \n") == f"{start}{path}: lists no recording; write one JSON object per line"
    assert line(b'\n{"audio_filepath": "a.w').startswith(f"{start}{path}:2: not JSON (")
    assert line(b'{"audio_filepath": "\xff"}').startswith(f"{start}{path}:1: byte 21 is not UTF-8")
    assert line(b"[1]") == f"{start}{path}:1: a JSON list, not an object; write {{...}} on every line"
    assert line(b'{"text": "a"}') == f"{start}{path}:1: audio_filepath is missing; name the audio file"
    assert line(b'{"audio_filepath": "a.wav"}') == (
        f"{start}{path}:1: audio_filepath: no such file {tmp_path / 'a.wav'}"
    )
    soundfile.write(tmp_path / "a.wav", np.zeros(10), RATE_HZ)
    assert line(b'{"audio_filepath": "a.wav", "offset": -1}') == (
        f"{start}{path}:1: offset is -1; it must be a number of seconds, 0 or more"
    )


def test_manifests_made_to_do_harm(tmp_path):
    path = tmp_path / "m.json"
    soundfile.write(tmp_path / "a.wav", np.zeros(10), RATE_HZ)
    for content in ("[" * 100_000, '{"audio_filepath": "a.wav", "offset": ' + "9" * 400 + "}", "\0" * (2 << 20)):
        path.write_text(content)
        assert message({"noise": {"manifest_path": str(path)}}).startswith(f"augmentor.noise.manifest_path: {path}:1: ")
    path.unlink()
    os.mkfifo(path)
    for name in (path, "/dev/zero", f"{path}\0"):
        assert message({"noise": {"manifest_path": str(name)}}).startswith("augmentor.noise.manifest_path: ")


@pytest.mark.parametrize("name", ["noise", "impulse"])
def test_a_broken_recording_is_named_with_the_key(tmp_path, speech, name):
    sound, path = tmp_path / "a.wav", tmp_path / "m.json"
    path.write_text("\ufeff" + json.dumps({"audio_filepath": "a.wav"}) + "\r\n")
    for content, reason in ((b"no sound", "cannot be decoded (Format not recognised)"), (None, "no such file")):
        sound.write_bytes(content or b"x")
        augmentor = AudioAugmentor({name: {"prob": 1.0, "manifest_path": str(path)}})
        if content is None:
            sound.unlink()
        with pytest.raises(UserError) as raised:
            augmentor(speech(1000), 1.0, 0, 0)
        assert str(raised.value).startswith(f"augmentor.{name}: {sound}: {reason}")
