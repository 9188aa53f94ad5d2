"""Checks every recording of a manifest by reading it as training does: faults, duration, silence, clipping."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field

import numpy as np
import soundfile

from jasper_tf.audio.load import ChannelSelector
from jasper_tf.data.checks.checked_manifest import CheckedManifest
from jasper_tf.data.checks.faults import FaultLog, audio_fault
from jasper_tf.data.manifest.line import Utterance
from jasper_tf.data.storage.utterance_audio import load_utterance
from jasper_tf.errors import UserError
from jasper_tf.io.progress import Progress
from jasper_tf.io.remote import is_remote
from jasper_tf.io.thread_pool import map_in_order

_FULL_SCALE = {"PCM_U8": 127 / 128, "PCM_S8": 127 / 128, "ALAW": 32256 / 32768, "ULAW": 32124 / 32768}
"""The largest positive sample of encodings coarser than 16 bits (8 bits; ITU-T G.711, tables 1a and 2a)."""

_LOUDEST_FRAME_S = 0.02
_CLIPPED_RUN = 3


@dataclass(frozen=True)
class AudioRules:
    """Bounds outside of which a recording is faulty.

    Args:
        sample_rate: the model's in Hz; another one is noted. Default: not looked at.
        tolerance_s: by how much declared and real duration may differ.
        silence_db: level in dB (mean square, full scale 0 dB) that the loudest 20 ms reach, or the recording is silent.
        max_clipped: the share of samples at full scale, three or more in a row, that is still accepted.
        channel_selector: as training reads it, "average" or a number.
    """

    sample_rate: int | None = None
    tolerance_s: float = 0.5
    silence_db: float = -60.0
    max_clipped: float = 0.001
    channel_selector: ChannelSelector = "average"


@dataclass
class AudioFindings:
    """What one file showed: (kind, detail) of each fault, and a number that is equal for equal samples (0: unknown)."""

    faults: list[tuple[str, str]] = field(default_factory=list)
    content: int = 0


def check_audio(
    manifest: CheckedManifest, log: FaultLog, rules: AudioRules, progress: Progress | None = None
) -> np.ndarray:
    """Reads the audio of every utterance and logs what is wrong with it.

    A thread for each core decodes; memory holds the parts that these read, whatever the size of the corpus.

    Args:
        manifest: its lines are checked already.
        log: takes the faults.
        rules: bounds.
        progress: counts milliseconds of declared duration.

    Returns:
        [utterances] uint64, equal for equal samples, 0 where nothing could be read or the recording is silent.
    """
    content = np.zeros(len(manifest), np.uint64)
    shared = _files_of_several_lines(manifest)

    def examined(numbered: tuple[int, Utterance]) -> tuple[Utterance, AudioFindings]:
        i, utterance = numbered
        whole = not manifest.has_offset[i] and hash(utterance.path) not in shared
        return utterance, examine(utterance, rules, whole)

    found = map_in_order(examined, enumerate(manifest.utterances()), os.cpu_count() or 1)
    for i, (utterance, findings) in enumerate(found):
        content[i] = findings.content
        for kind, detail in findings.faults:
            log.add(manifest.path, manifest.line[i], kind, detail, utterance.duration_s)
        if progress:
            progress.advance(round(1000 * utterance.duration_s))
    return content


def _files_of_several_lines(manifest: CheckedManifest) -> frozenset[int]:
    """Hashes of the paths that more than one line names: such a line need not reach to the end of the file."""
    hashes = np.fromiter((hash(utterance.path) for utterance in manifest.utterances()), np.int64, len(manifest))
    values, counts = np.unique(hashes, return_counts=True)
    return frozenset(values[counts > 1].tolist())


def examine(utterance: Utterance, rules: AudioRules, whole: bool = True) -> AudioFindings:
    """Checks the audio of one utterance.

    Args:
        utterance: which part of which file.
        rules: bounds.
        whole: whether the utterance is meant to be the whole file: then audio after its duration is a fault.
    """
    path = utterance.path
    findings = AudioFindings()
    rate, encoding = rules.sample_rate or 16000, ""
    try:
        # At the file's own rate: resampling would hide what is clipped.
        info = None if utterance.record is not None or is_remote(path) else soundfile.info(path)
    except (soundfile.SoundFileError, OSError, TypeError, ValueError):
        info = None  # load_utterance raises the reason
    if info is not None:
        rate, encoding = info.samplerate, info.subtype
        real_s = info.frames / rate
        if whole and real_s > utterance.duration_s + rules.tolerance_s:
            findings.faults.append(
                ("wrong duration", f"{path}: lasts {real_s:.2f} s, but its line declares {utterance.duration_s:g} s")
            )
    try:
        audio = load_utterance(utterance, rate, rules.channel_selector)
    except UserError as error:
        findings.faults = [(audio_fault(error), str(error))]
        return findings
    missing_s = utterance.duration_s - len(audio) / rate
    if missing_s > rules.tolerance_s:
        detail = f"{path}: {len(audio) / rate:.2f} s from {utterance.offset_s:g} s on, "
        findings.faults.append(("wrong duration", f"{detail}but its line declares {utterance.duration_s:g} s"))
    if rules.sample_rate and rate != rules.sample_rate:
        findings.faults.append(("wrong rate", f"{path}: {rate} Hz is resampled to {rules.sample_rate} Hz"))
    level_db = loudest_db(audio, rate)
    if level_db < rules.silence_db:
        detail = "holds nothing but zeros" if level_db == -np.inf else f"its loudest 20 ms reach {level_db:.0f} dB"
        findings.faults.append(("silent", f"{path}: {detail}"))
        return findings
    clipped = clipped_share(audio, _FULL_SCALE.get(encoding, 0.999))
    if clipped > rules.max_clipped:
        findings.faults.append(("clipped", f"{path}: {clipped:.1%} of its samples are at full scale"))
    digest = hashlib.blake2b(audio.tobytes(), digest_size=8, salt=rate.to_bytes(4, "little"))
    findings.content = int.from_bytes(digest.digest(), "little") or 1
    return findings


def loudest_db(audio: np.ndarray, rate: int) -> float:
    """The highest mean square of 20 ms of audio [S] in dB, full scale 0 dB, without a constant offset."""
    size = min(len(audio), max(1, round(_LOUDEST_FRAME_S * rate)))
    frames = (audio - audio.mean(dtype=np.float64))[: len(audio) // size * size].reshape(-1, size)
    power = float(np.square(frames, dtype=np.float32).mean(axis=1).max())
    return 10 * float(np.log10(power)) if power > 1e-20 else -np.inf


def clipped_share(audio: np.ndarray, full_scale: float = 0.999) -> float:
    """The share of audio [S] that is at full scale or beyond, on one side, three samples or more in a row."""
    clipped = 0
    for side in (audio >= full_scale, audio <= -full_scale):
        edges = np.flatnonzero(np.diff(side.astype(np.int8), prepend=np.int8(0), append=np.int8(0)))
        runs = edges[1::2] - edges[::2]
        clipped += int(runs[runs >= _CLIPPED_RUN].sum())
    return clipped / len(audio)
