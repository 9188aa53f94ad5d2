"""Silence, clipping and the length of a recording, beside plain NumPy in float64."""

import numpy as np
import pytest
import soundfile

from jasper_tf.data.checks.audio import AudioRules, check_audio, clipped_share, examine, loudest_db
from jasper_tf.data.checks.checked_manifest import CheckedManifest
from jasper_tf.data.checks.faults import FaultLog, audio_fault
from jasper_tf.data.checks.lines import check_lines
from jasper_tf.data.manifest.line import Utterance
from jasper_tf.errors import AudioError, UserError

RATE = 16000


def clipped_slowly(audio, full_scale):
    count = run = 0
    before = 0.0
    for sample in [*audio, 0.0]:
        side = np.sign(sample) if abs(sample) >= full_scale else 0.0
        if side != before:
            count += run if before and run >= 3 else 0
            run = 0
        run, before = run + 1, side
    return count / len(audio)


@pytest.mark.parametrize("seed", range(4))
def test_clipped_share(seed):
    rng = np.random.default_rng(seed)
    audio = np.clip(np.convolve(rng.normal(size=3000), np.ones(5) / 3, "same"), -1, 1).astype(np.float32)
    assert 0 < clipped_share(audio) < 1
    assert clipped_share(audio) == pytest.approx(clipped_slowly(audio, 0.999))


def test_single_peaks_are_not_clipping():
    audio = np.tile([1.0, 1.0, 0.5, -1.0, -1.0, 1.0, 0.5], 500)
    assert clipped_share(audio) == 0
    assert clipped_share(np.ones(7)) == 1


@pytest.mark.parametrize("seconds", [0.001, 0.02, 0.1234, 2.0])
def test_loudest_db(seconds):
    rng = np.random.default_rng(3)
    audio = (rng.normal(scale=0.01, size=round(seconds * RATE)) + 0.3).astype(np.float32)
    audio[: min(len(audio), 320)] += 0.1 * (-1) ** np.arange(min(len(audio), 320))
    signal = audio.astype(np.float64) - audio.astype(np.float64).mean()
    size = min(320, len(signal))
    frames = [signal[at : at + size] for at in range(0, len(signal) - size + 1, size)]
    assert loudest_db(audio, RATE) == pytest.approx(10 * np.log10(max(np.mean(f**2) for f in frames)), abs=1e-3)


def test_a_constant_is_silent():
    assert loudest_db(np.full(RATE, 0.25, np.float32), RATE) == -np.inf


@pytest.fixture
def sine(tmp_path):
    """`sine(peak, seconds, subtype)`: a file with 300 Hz."""

    def write(peak=0.3, seconds=1.0, subtype="PCM_16", name="a.wav"):
        audio = np.clip(peak * np.sin(2 * np.pi * 300 * np.arange(round(seconds * RATE)) / RATE), -1, 1)
        soundfile.write(tmp_path / name, audio, RATE, subtype=subtype)
        return Utterance(str(tmp_path / name), 0.0, seconds, "yes", "m.json:1")

    return write


def kinds(utterance, **rules):
    return [kind for kind, _ in examine(utterance, AudioRules(**rules)).faults]


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "FLOAT", "ALAW", "ULAW"])
def test_clipping_is_found_in_every_encoding(sine, subtype):
    assert kinds(sine(2.0, subtype=subtype)) == ["clipped"]
    assert kinds(sine(0.9, subtype=subtype)) == []
    assert kinds(sine(2.0, subtype=subtype), max_clipped=0.9) == []


def test_the_bounds_are_the_users(sine):
    quiet = sine(0.01, 1.2)
    assert kinds(quiet) == [] and kinds(quiet, silence_db=-30) == ["silent"]
    shorter = Utterance(quiet.path, 0.0, 1.0, "yes", "m.json:1")
    assert kinds(shorter) == [] and kinds(shorter, tolerance_s=0.1) == ["wrong duration"]
    assert kinds(quiet, sample_rate=8000) == ["wrong rate"]


def test_a_part_need_not_reach_to_the_end(sine):
    utterance = sine(seconds=3.0)
    part = Utterance(utterance.path, 0.5, 1.0, "yes", "m.json:1")
    assert examine(part, AudioRules(), whole=False).faults == []
    assert examine(part, AudioRules(), whole=False).content not in (0, examine(utterance, AudioRules()).content)


def test_findings_come_at_their_lines_whatever_the_number_of_files(sine, tmp_path):
    bad = {3: 2.0, 40: 0.0, 77: 2.0}
    lines = []
    for i in range(1, 91):
        sine(bad.get(i, 0.3), 0.05 + i / 1000, name=f"{i}.wav")
        lines.append(f'{{"audio_filepath": "{i}.wav", "duration": {0.05 + i / 1000}, "text": "a"}}\n')
    (tmp_path / "m.json").write_text("".join(lines))
    manifest, log = CheckedManifest(str(tmp_path / "m.json")), FaultLog()
    check_lines(manifest, log)
    content = check_audio(manifest, log, AudioRules())
    assert {line for line in range(1, 91) if log.is_faulty(manifest.path, line)} == set(bad)
    assert log.has(manifest.path, 40, "silent") and log.has(manifest.path, 77, "clipped")
    assert len(set(content)) == 90 and np.flatnonzero(content == 0).tolist() == [39]


@pytest.mark.parametrize(
    ("error", "fault"),
    [(AudioError("/a.wav", kind, ""), "unreadable") for kind in ("unreadable", "empty", "not_audio", "rate")]
    + [(AudioError("/a.wav", kind, ""), "wrong duration") for kind in ("longer", "outside")]
    + [
        (AudioError("/a.wav", "missing", ""), "missing"),
        (AudioError("/a.wav", "cut", ""), "truncated"),
        (AudioError("/a.wav", "values", ""), "not finite"),
        (AudioError("/a.wav", "too_long", ""), "too long"),
        (AudioError("/a.wav", "channel", ""), "no such channel"),
        (UserError("/shard.tfrecord: the record at byte 0 is damaged"), "unreadable"),
    ],
)
def test_what_the_reader_of_audio_says(error, fault):
    assert audio_fault(error) == fault
