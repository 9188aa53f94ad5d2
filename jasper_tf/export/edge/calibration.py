"""Recordings that an export is verified on, and that give the ranges of its activations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from jasper_tf.data.manifest.columns import read_manifest
from jasper_tf.data.storage.utterance_audio import load_utterance
from jasper_tf.errors import DataError, UserError

MOST_CLIPS = 200
LONGEST_S = 30.0


@dataclass(frozen=True)
class CalibrationClip:
    """Audio [S] float32 at the model's rate, and what was said: empty if unknown, None for synthesized audio."""

    audio: np.ndarray
    text: str | None = None


def read_calibration(
    manifest: str, sample_rate: int, say: Callable[[str], None], min_samples: int = 1
) -> list[CalibrationClip]:
    """Reads at most `MOST_CLIPS` utterances of at most `LONGEST_S` seconds, evenly over the manifest.

    Args:
        manifest: JSON lines in NeMo's layout, with texts or without, or a folder of shards; several by commas.
        sample_rate: wanted, Hz.
        say: takes a line about what is left out.
        min_samples: a shorter recording has zeros behind it, as when the export recognizes it.

    Raises:
        UserError: as `read_manifest`; no utterance is short enough, or can be read.
    """
    utterances = read_manifest(manifest, texts=False)
    short = np.flatnonzero(utterances.duration_s <= LONGEST_S)
    if not len(short):
        raise UserError(f"--calibration {manifest}: no utterance of {LONGEST_S:g} s or less; give shorter ones")
    chosen = short[np.linspace(0, len(short) - 1, min(MOST_CLIPS, len(short))).astype(int)]
    clips, unreadable = [], []
    for number in chosen.tolist():
        utterance = utterances[number]
        try:
            audio = load_utterance(utterance, sample_rate)
            audio = np.pad(audio, (0, max(0, min_samples - len(audio))))
            clips.append(CalibrationClip(audio, utterance.text))
        except UserError as error:
            unreadable.append(f"{utterance.source}: {error}")
    if not clips:
        raise DataError(unreadable[0])
    if unreadable:
        say(f"calibration: {len(unreadable)} recordings cannot be read: {unreadable[0]}")
    if len(clips) < len(utterances):
        say(f"calibration: {len(clips)} of {len(utterances)} utterances ({MOST_CLIPS} at most, of {LONGEST_S:g} s)")
    return clips


def synthesize_calibration(sample_rate: int, seed: int = 0) -> list[CalibrationClip]:
    """Noise and tones of 1, 2.5 and 4 s, for an export without a manifest: they have no text."""
    rng, clips = np.random.default_rng(seed), []
    for seconds in (1.0, 2.5, 4.0):
        t = np.arange(int(seconds * sample_rate)) / sample_rate
        pitch = 2 * np.pi * np.cumsum(120 + 40 * np.sin(2 * np.pi * 0.7 * t)) / sample_rate
        tones = sum(np.sin(k * pitch) / k for k in range(1, 20)) * (0.6 + 0.4 * np.sin(2 * np.pi * 4 * t))
        audio = 0.05 * tones + 0.01 * rng.standard_normal(len(t))
        clips.append(CalibrationClip(audio.astype(np.float32)))
    return clips
