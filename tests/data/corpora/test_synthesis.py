"""The synthesized corpus: real speech in real files, voices disjoint, the same bytes for the same seed."""

import builtins
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from jasper_tf.data.corpora.synthesis import ACCENTS, VOICES, Synthesizer, make_corpus
from jasper_tf.errors import UserError


def read(manifest: Path) -> list[dict]:
    return [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()]


def read_bytes(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def median_pitch_hz(audio: np.ndarray) -> float:
    """The strongest autocorrelation between 50 and 400 Hz, over frames of 50 ms."""
    frames = audio[: len(audio) // 800 * 800].reshape(-1, 800).astype(np.float64)
    frames = frames[np.abs(frames).max(axis=1) > 0.1 * np.abs(audio).max()]
    autocorrelation = np.fft.irfft(np.abs(np.fft.rfft(frames, 2048)) ** 2)[:, 40:320]
    return float(np.median(16000 / (40 + autocorrelation.argmax(axis=1))))


@pytest.fixture(scope="module")
def synthesizer():
    with Synthesizer() as opened:
        yield opened


def test_files_hold_what_the_manifests_say(spoken_corpus):
    for split, count in (("train", 96), ("dev", 12), ("test", 16)):
        entries = read(spoken_corpus / f"{split}.jsonl")
        assert len(entries) == count
        for entry in entries:
            info = soundfile.info(spoken_corpus / entry["audio_filepath"])
            assert (info.samplerate, info.channels, info.subtype, info.format) == (16000, 1, "PCM_16", "WAV")
            assert entry["duration"] == pytest.approx(info.frames / 16000, abs=1e-4)
            assert entry["text"] == entry["text"].lower().strip()
            assert set(entry["text"]) <= set("abcdefghijklmnopqrstuvwxyz ")
            assert entry["speaker"] in VOICES[split]


def test_audio_is_audible_and_unclipped(spoken_corpus):
    for entry in read(spoken_corpus / "test.jsonl"):
        audio, _ = soundfile.read(spoken_corpus / entry["audio_filepath"])
        peak = np.abs(audio).max()
        assert 0.09 < peak < 0.95
        assert np.abs(audio[:800]).max() == 0  # 50 ms of pause come first, at least


def test_voices_of_the_splits_are_disjoint():
    names = [voice for voices in VOICES.values() for voice in voices]
    assert len(names) == len(set(names))
    # Gene and Gene2 are one person to the ear.
    families = {
        split: {voice.rstrip("0123456789") for voice in voices if len(voice) > 2} for split, voices in VOICES.items()
    }
    assert not families["train"] & families["test"] and not families["train"] & families["dev"]


def test_every_voice_speaks(synthesizer):
    spoken = {}
    for voice in [f"en-us+{name}" for names in VOICES.values() for name in names] + [f"{a}+m1" for a in ACCENTS]:
        audio = synthesizer.speak("three one four", voice)
        assert audio.dtype == np.float32 and audio.ndim == 1
        assert 0.5 < len(audio) / 16000 < 3.0, voice
        assert np.abs(audio).max() > 0.05, voice
        spoken[voice] = audio.tobytes()
    # A name that the library does not know is silently spoken by its default voice: two would be the same.
    assert len(set(spoken.values())) == len(spoken)


def test_rate_and_pitch_are_heard(synthesizer):
    slow = synthesizer.speak("turn on the light", "en-us+m1", rate_wpm=100)
    fast = synthesizer.speak("turn on the light", "en-us+m1", rate_wpm=200)
    assert len(slow) > 1.5 * len(fast)

    low, high = (synthesizer.speak("one nine one nine", "en-us+m1", pitch=pitch) for pitch in (10, 80))
    assert median_pitch_hz(high) > 1.2 * median_pitch_hz(low)


def test_same_seed_same_bytes_another_seed_others(tmp_path):
    for name, seed in (("first", 3), ("second", 3), ("other", 4)):
        make_corpus(tmp_path / name, train=8, dev=4, test=0, seed=seed)
    first, second, other = (read_bytes(tmp_path / name) for name in ("first", "second", "other"))
    assert first == second
    assert first["train.jsonl"] != other["train.jsonl"]
    assert sorted(first)[0] == "dev.jsonl" and "test.jsonl" not in first
    assert not [name for name in first if not name.endswith((".wav", ".jsonl"))]


def test_unknown_voice(synthesizer):
    with pytest.raises(UserError, match="no voice 'xx-nowhere'"):
        synthesizer.speak("one", "xx-nowhere")


def test_negative_count(tmp_path):
    with pytest.raises(UserError, match="dev=-1"):
        make_corpus(tmp_path, dev=-1)
    assert not list(tmp_path.iterdir())


def test_missing_wheel_is_one_clear_line(monkeypatch, tmp_path):
    real = builtins.__import__

    def without(name, *rest, **named):
        if name == "espeakng_loader":
            raise ImportError(name)
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match=r"pip install 'jasper-tf\[demo\]'"):
        make_corpus(tmp_path, train=1)
