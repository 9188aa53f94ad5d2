"""Compares an exported model with the Keras model that it was made from."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jasper_tf.decoding.greedy.greedy_decoder import GreedyDecoder
from jasper_tf.errors import DataError
from jasper_tf.export.edge.calibration import CalibrationClip
from jasper_tf.export.edge.formats import EdgeModel, EdgeStream
from jasper_tf.export.edge.model_info import StreamInfo
from jasper_tf.io.progress import Progress
from jasper_tf.metrics.error_rate import count_errors
from jasper_tf.model.jasper_ctc import JasperCTC

_MOST_STREAMED = 20
_STEP_FRAMES = 7


@dataclass(frozen=True)
class Verification:
    """Differences between the two models on the same recordings; texts are greedy.

    Attributes:
        audio: "calibration", or "synthesized" noise and tones.
        clips, audio_s: their number and seconds.
        max_difference, p99_difference: |d log-probabilities| over all valid frames and classes.
        texts_equal: clips with the same text.
        keras_wer, exported_wer: of the clips with a text; None without any.
    """

    audio: str
    clips: int
    audio_s: float
    max_difference: float
    p99_difference: float
    texts_equal: int
    keras_wer: float | None = None
    exported_wer: float | None = None

    def to_dict(self) -> dict[str, Any]:
        return {key: value for key, value in dataclasses.asdict(self).items() if value is not None}

    def __str__(self) -> str:
        where = "" if self.audio == "calibration" else "synthesized noise and tones only; --calibration takes speech; "
        line = (
            f"verification: {where}{self.clips} recordings, {self.audio_s:.0f} s: log-probabilities differ by "
            f"{self.max_difference:.1e} at most (99 %: {self.p99_difference:.1e}), {self.texts_equal} of {self.clips} "
            "texts equal"
        )
        if self.keras_wer is not None and self.exported_wer is not None:
            line += f", WER {self.exported_wer:.2%} (Keras {self.keras_wer:.2%})"
        return line


def verify(model: JasperCTC, exported: EdgeModel, clips: Sequence[CalibrationClip]) -> Verification:
    """Runs both models on each clip alone.

    Raises:
        DataError: the two give another number of frames, or values that are not finite.
    """
    decoder = GreedyDecoder()
    differences, texts = [], []
    with Progress("verifying", len(clips)) as progress:
        for clip in clips:
            audio, audio_len = clip.audio[None], np.array([len(clip.audio)], np.int32)
            pair = [one.log_probs(audio, audio_len) for one in (model, exported)]
            (expected, expected_len), (found, found_len) = pair
            if expected_len[0] != found_len[0]:
                raise DataError(
                    f"the exported model gives {found_len[0]} frames for {len(clip.audio)} samples, the Keras model "
                    f"{expected_len[0]}; report it with the model's configuration"
                )
            frames = int(expected_len[0])
            difference = np.abs(expected[0, :frames] - found[0, :frames])
            if not np.isfinite(difference).all():
                raise DataError("the exported model gives NaN or infinite values; report it with its configuration")
            differences.append(difference.ravel())
            hypotheses = [decoder(log_probs, length).best() for log_probs, length in pair]
            texts.append([_text(model, best) for best in hypotheses])
            progress.advance(1)
    flat = np.concatenate(differences)
    spoken = [(clip.text, *pair) for clip, pair in zip(clips, texts, strict=True) if clip.text]
    rates: list[float | None] = [None, None]
    if spoken:
        references, *columns = map(list, zip(*spoken, strict=True))
        rates = [count_errors(references, column).rate for column in columns]
    return Verification(
        audio="synthesized" if all(clip.text is None for clip in clips) else "calibration",
        clips=len(clips),
        audio_s=sum(len(clip.audio) for clip in clips) / model.sample_rate,
        max_difference=float(flat.max(initial=0.0)),
        p99_difference=float(np.percentile(flat, 99)) if len(flat) else 0.0,
        texts_equal=sum(one == other for one, other in texts),
        keras_wer=rates[0],
        exported_wer=rates[1],
    )


@dataclass(frozen=True)
class StreamVerification:
    """Differences between an exported model's steps and itself on whole recordings.

    Attributes:
        clips: their number.
        max_difference, p99_difference: as of `Verification`.
    """

    clips: int
    max_difference: float
    p99_difference: float

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def __str__(self) -> str:
        return (
            f"verification of live audio: {self.clips} recordings: log-probabilities differ from those of the whole by "
            f"{self.max_difference:.1e} at most (99 %: {self.p99_difference:.1e})"
        )


def verify_stream(
    whole: EdgeModel, stream: EdgeStream, info: StreamInfo, clips: Sequence[CalibrationClip]
) -> StreamVerification:
    """Runs at most `_MOST_STREAMED` clips as streams.

    Raises:
        DataError: there is another number of frames than in the whole recording, or values that are not finite.
    """
    chosen = clips[:: -(-len(clips) // _MOST_STREAMED)]
    differences = []
    for clip in chosen:
        expected, frames = whole.log_probs(clip.audio[None], np.array([len(clip.audio)], np.int32))
        found = _log_probs_in_steps(stream, info, clip.audio)
        if len(found) != frames[0]:
            raise DataError(
                f"as live audio the exported model gives {len(found)} frames for {len(clip.audio)} samples, not "
                f"{frames[0]}; report it with the model's configuration"
            )
        differences.append(np.abs(expected[0, : len(found)] - found).ravel())
    flat = np.concatenate(differences)
    if not np.isfinite(flat).all():
        raise DataError("as live audio the exported model gives NaN or infinite values; report its configuration")
    p99 = float(np.percentile(flat, 99)) if len(flat) else 0.0
    return StreamVerification(len(chosen), float(flat.max(initial=0.0)), p99)


def _log_probs_in_steps(stream: EdgeStream, info: StreamInfo, audio: np.ndarray) -> np.ndarray:
    """[T',V+1] of a recording [S]."""
    step = _STEP_FRAMES * info.frame_samples
    last = len(audio) - len(audio) % step
    rest = np.pad(audio[last:], (0, -len(audio) % info.frame_samples + info.flush_samples))
    state, found = np.zeros((1, info.state_size), np.float32), []
    for chunk, given in [*((chunk, step) for chunk in audio[:last].reshape(-1, step)), (rest, len(audio) - last)]:
        log_probs, frames, state = stream.step(chunk[None], state, np.array([given], np.int32))
        found.append(log_probs[0, : frames[0]])
    return np.concatenate(found)


def _text(model: JasperCTC, best: Any) -> str:
    return model.tokenizer.decode(np.asarray(best.labels)[0, : int(best.label_len[0])].tolist())
