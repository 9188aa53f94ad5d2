"""Numbers of the pictures of the page: the network's input and its answer, of a short recording."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from jasper_tf.audio.pad_audio import pad_audio
from jasper_tf.inference.transcriber import Recognizer
from jasper_tf.text.tokenizer import Tokenizer

LONGEST_S = 30.0
"""Of a recording, seconds: what a screen shows with every frame visible."""

_LEAST_PROBABILITY = 0.1
_MOST_LABELS = 48


def picture_data(model: Recognizer, audio: np.ndarray) -> dict[str, Any]:
    """Returns values for JSON: what the model hears and answers.

    Args:
        model: one that gives no features, such as an edge model, has no spectrogram.
        audio: [S] float32 at the model's rate, up to `LONGEST_S`.

    Returns:
        spectrogram: {values, frames, band_hz}: the features [T,F] that the encoder reads as base64 of bytes, 0 the
            lowest (1st percentile) and 255 the highest, low bands first; or None. Stacked frames have no band_hz.
        posterior: {values, frames, labels, frame_s}: probabilities [T',rows] as bytes, 255 is 1; the first row is the
            blank, the others are the labels that reach 0.1 anywhere, at most 48; or None.
    """
    batch, batch_len = pad_audio([audio])
    return {"spectrogram": _spectrogram(model, batch, batch_len), "posterior": _posterior(model, batch, batch_len)}


def _spectrogram(model: Any, batch: np.ndarray, batch_len: np.ndarray) -> dict[str, Any] | None:
    if hasattr(model, "spectrograms"):
        features, _, feature_len = model.spectrograms({"audio": batch, "audio_len": batch_len})
        band_hz = [round(float(hz)) for hz in model.get_layer("log_mel").band_hz]
    elif hasattr(model, "features"):
        features, feature_len = model.features(batch, batch_len)
        band_hz = model.band_hz
    else:
        return None
    frames = int(feature_len[0])
    features = np.asarray(features)[0, :frames]
    # A few clicks or an empty band must not compress the scale.
    low, high = np.percentile(features, [1, 99.5]) if features.size else (0.0, 1.0)
    return {
        "values": _bytes((features - low) / max(high - low, 1e-6)),
        "frames": frames,
        "band_hz": band_hz if len(band_hz) == features.shape[1] else [],
    }


def _posterior(model: Any, batch: np.ndarray, batch_len: np.ndarray) -> dict[str, Any] | None:
    if not hasattr(model, "log_probs"):
        return None
    tokenizer: Tokenizer = model.tokenizer
    log_probs, frames = model.log_probs(batch, batch_len)
    posterior = np.exp(log_probs[0, : frames[0]])
    highest = posterior[:, :-1].max(axis=0, initial=0.0)
    shown = np.sort(np.argsort(-highest)[:_MOST_LABELS])
    shown = shown[highest[shown] >= _LEAST_PROBABILITY]
    blank = posterior.shape[1] - 1
    return {
        "values": _bytes(posterior[:, [blank, *shown[::-1]]]),  # the first label is the highest row
        "frames": len(posterior),
        "labels": ["", *(tokenizer.pieces[label] or tokenizer.vocabulary[label] for label in shown[::-1])],
        "frame_s": model.frame_s,
    }


def _bytes(values: np.ndarray) -> str:
    return base64.b64encode(np.round(255 * np.clip(values, 0, 1)).astype(np.uint8).tobytes()).decode("ascii")
