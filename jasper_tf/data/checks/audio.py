"""Checks every recording of a manifest by reading it as training does: faults, duration, silence, clipping."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from jasper_tf.audio.load import ChannelSelector
from jasper_tf.data.checks.checked_manifest import CheckedManifest
from jasper_tf.data.checks.faults import FaultLog, audio_fault
from jasper_tf.data.jobs.run_parts import run_parts
from jasper_tf.data.jobs.runner import Runner
from jasper_tf.data.manifest.line import Utterance
from jasper_tf.data.manifest.utterance_span import UtteranceSpan
from jasper_tf.data.storage.utterance_audio import load_utterance
from jasper_tf.errors import UserError
from jasper_tf.io.progress import Progress
from jasper_tf.io.remote import is_remote
from jasper_tf.io.thread_pool import map_in_order

_FULL_SCALE = {"PCM_U8": 127 / 128, "PCM_S8": 127 / 128, "ALAW": 32256 / 32768, "ULAW": 32124 / 32768}
"""The largest positive sample of encodings coarser than 16 bits (8 bits; ITU-T G.711, tables 1a and 2a)."""

PART = 1024
"""Utterances that are a unit of work."""

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


class AudioParts(Sequence[tuple[UtteranceSpan, bytes]]):
    """The utterances of a manifest in parts of `PART`, each with the bytes of its `whole`, for `examine_part`.

    Attributes:
        manifest: its lines are checked already.
        whole: [utterances] bool, whether an utterance is meant to be the whole file.
    """

    def __init__(self, manifest: CheckedManifest):
        self.manifest = manifest
        file = np.array(manifest.file_hash)
        values, counts = np.unique(file, return_counts=True)
        # Where several lines name a file, none of them need reach to its end.
        alone = values[counts == 1]
        at = np.minimum(np.searchsorted(alone, file), max(len(alone) - 1, 0))
        self.whole = (alone[at] == file if len(alone) else np.zeros(len(file), bool)) & (
            np.array(manifest.has_offset) == 0
        )

    def __len__(self) -> int:
        return -(-len(self.manifest) // PART)

    def __getitem__(self, k):
        k = range(len(self))[k]
        part = slice(k * PART, min((k + 1) * PART, len(self.manifest)))
        return self.manifest.span(part.start, part.stop), self.whole[part].tobytes()


def check_audio(
    manifest: CheckedManifest,
    log: FaultLog,
    rules: AudioRules,
    progress: Progress | None = None,
    runner: Runner | None = None,
    folder: str | Path | None = None,
) -> np.ndarray:
    """Reads the audio of every utterance and logs what is wrong with it.

    Memory holds the parts that are being read, whatever the size of the corpus.

    Args:
        manifest: its lines are checked already.
        log: takes the faults.
        rules: bounds.
        progress: counts milliseconds of declared duration.
        runner: reads parts of `PART` utterances. Default: a thread for each core.
        folder: of `work_folder`, with a runner.

    Returns:
        [utterances] uint64, equal for equal samples, 0 where nothing could be read or the recording is silent.
    """
    content = np.zeros(len(manifest), np.uint64)
    i = 0
    for examined, kept in _examined(AudioParts(manifest), rules, runner, folder):
        milliseconds = 0
        for content[i], faults in examined:
            for kind, detail in faults:
                log.add(manifest.path, manifest.line[i], kind, detail, manifest.duration_s[i])
            milliseconds += round(1000 * manifest.duration_s[i])
            i += 1
        if progress:
            (progress.skip if kept else progress.advance)(milliseconds)
    return content


def _examined(
    parts: AudioParts, rules: AudioRules, runner: Runner | None, folder: str | Path | None
) -> Iterator[tuple[Sequence[Any], bool]]:
    """What `examine_part` gives, a part or an utterance at a time, and whether an earlier run had it."""
    if runner is not None and folder is not None:
        for done in run_parts(functools.partial(examine_part, rules), parts, runner, folder):
            yield done.value, done.kept
        return
    one_by_one = zip(parts.manifest.utterances(), parts.whole, strict=True)
    found = map_in_order(lambda one: examine(one[0], rules, bool(one[1])), one_by_one, os.cpu_count() or 1)
    for one in found:
        yield [(one.content, one.faults)], False


def examine_part(rules: AudioRules, part: tuple[UtteranceSpan, bytes]) -> list[tuple[int, list[tuple[str, str]]]]:
    """`examine` for each utterance of one of `AudioParts` -> content and faults; what the workers of a job call."""
    found = (examine(utterance, rules, bool(whole)) for utterance, whole in zip(*part, strict=True))
    return [(one.content, one.faults) for one in found]


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
