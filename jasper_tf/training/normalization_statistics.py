"""Mean and deviation of the features of a training set, for `preprocessor.normalize`."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

import numpy as np

from jasper_tf.config import Config
from jasper_tf.data.batches.bad_audio import BadAudio
from jasper_tf.data.storage.utterance_audio import load_utterance
from jasper_tf.errors import AudioError, UserError
from jasper_tf.features.running_statistics import RunningStatistics
from jasper_tf.io.progress import Progress
from jasper_tf.io.thread_pool import map_in_order
from jasper_tf.model.jasper_ctc import build_model
from jasper_tf.training.datasets import build_batches

_READERS = 4


@dataclass(frozen=True)
class NormalizationStatistics:
    """What `preprocessor.normalize` takes.

    Attributes:
        fixed_mean, fixed_std: [F] float32, F spliced features; the deviation divides by the number of frames less one.
        frames: that were counted.
        summary: a line on the utterances that were, and were not, counted.
    """

    fixed_mean: np.ndarray
    fixed_std: np.ndarray
    frames: int
    summary: str

    def as_yaml(self) -> str:
        """Lines to put under `preprocessor:`, five digits a number."""
        lines = ["    normalize:"]
        for name in ("fixed_mean", "fixed_std"):
            values = ", ".join(f"{value:.5g}" for value in getattr(self, name))
            indent = " " * 8
            rows = textwrap.wrap(values, 112, initial_indent=indent, subsequent_indent=indent)
            lines += [f"      {name}: [", *rows, "      ]"]
        return "\n".join(lines) + "\n"


def count_normalization(cfg: Config) -> NormalizationStatistics:
    """Counts the features of the recordings that `model.train_ds` trains on, as they are: not augmented, no dither.

    Recordings are read one after the other; memory does not grow with their number.

    Raises:
        UserError: the section or a manifest is wrong; a recording cannot be read (with `on_bad_audio: skip` more than
            `max_bad_audio` of them); a feature never changes.
    """
    dataset, sample_rate = cfg.model.train_ds, cfg.model.sample_rate
    _, selection = build_batches(cfg, "train_ds")
    assert dataset is not None
    utterances = selection.utterances
    skips = dataset.on_bad_audio == "skip"
    bad_audio = BadAudio(utterances, dataset.max_bad_audio if skips else 1.0, "model.train_ds")

    def load(index: int) -> np.ndarray | None:
        try:
            return load_utterance(utterances[index], sample_rate, dataset.channel_selector, dataset.trim_silence)
        except AudioError as error:
            if not skips:
                raise
            bad_audio.add(index, str(error))
            return None

    features_of, statistics = build_model(cfg).stages.features, RunningStatistics()
    with Progress("reading recordings", len(utterances)) as progress:
        for audio in map_in_order(load, range(len(utterances)), _READERS):
            if audio is not None:
                statistics.add(features_of(audio).numpy())
            progress.advance()
    bad_audio.require_rest(range(len(utterances)))
    mean, std = statistics.moments()
    constant = np.flatnonzero(~(std > 0))
    if len(constant):
        raise UserError(
            f"feature {constant[0]} of {std.size} never changes in {statistics.count} frames; lower "
            "preprocessor.features, or narrow lowfreq and highfreq to what the recordings hold"
        )
    unread = f"; {len(bad_audio.reasons)} could not be read" if bad_audio.reasons else ""
    return NormalizationStatistics(mean, std, statistics.count, selection.summary() + unread)
