"""The signatures of a SavedModel: one network, several inputs and outputs."""

from __future__ import annotations

from collections.abc import Callable

import keras
import tensorflow as tf

from jasper_tf.audio.load import MAX_AMPLITUDE
from jasper_tf.decoding.words import word_outputs
from jasper_tf.export.saved_model.wav_decoding import decode_wav_files
from jasper_tf.features.valid_frames import valid_frames
from jasper_tf.model.jasper_ctc import JasperCTC

Outputs = dict[str, tf.Tensor]

_AUDIO = [tf.TensorSpec((None, None), tf.float32, name="audio"), tf.TensorSpec((None,), tf.int32, name="audio_len")]
_FILES = [tf.TensorSpec((None,), tf.string, name="audio")]


def signatures(
    model: JasperCTC, batchable: bool = False
) -> dict[str, tuple[Callable[..., Outputs], list[tf.TensorSpec]]]:
    """Builds the signatures: name -> (function, inputs).

    From audio [B,S] float32 (-1 to 1, at `model.sample_rate`; padded with any values) and audio_len [B] int32:
        serving_default: text [B] string (UTF-8), confidence [B] float32, and the words of all utterances in one
            list: words [W] string, words_start_s, words_end_s (seconds), words_confidence [W] float32, of which
            words_row_lengths [B] int64 belong to each utterance (tf.RaggedTensor.from_row_lengths).
        text: text and confidence alone.
        features: features [B,T,F] float32 as the encoder sees them, feature_len [B] int32.
        log_probs: log_probs [B,T',V+1] float32, log_probs_len [B] int32.
    From audio [B] string, whole WAV files (see `decode_wav_files`):
        audio_bytes: what serving_default gives.
        audio_bytes_text: what text gives.

    Confidences are those of the model's decoder, `group_words` and `utterance_confidence`.

    TensorFlow Serving's batching covers all signatures of a SavedModel, splits every output into the rows of the
    requests, and fails on outputs without one row per utterance, such as W words (batching_session.cc,
    SplitOutputTensors). Models for servers that batch are therefore exported without words.

    Args:
        model: a recognizer.
        batchable: no words: serving_default is text, and audio_bytes is audio_bytes_text. Every output has B rows.

    Raises (all signatures, when called):
        tf.errors.InvalidArgumentError: names the wrong row of the batch and the reason.
    """

    # Traced once and called by several signatures, so that the file contains network and decoding once.
    @tf.function(input_signature=_AUDIO, autograph=False)
    def acoustic(audio, audio_len):
        audio, audio_len = _checked(audio, audio_len)
        out = model({"audio": audio, "audio_len": audio_len}, training=False)
        return out["logits"], out["logit_len"]

    @tf.function(input_signature=_AUDIO, autograph=False)
    def recognize(audio, audio_len):
        best = model.decoding(*acoustic(audio, audio_len)).best()
        text = model.tokenizer.decode_in_graph(best.labels)
        return {"text": text, **word_outputs(best, model.tokenizer, model.frame_s, model.decoding.word_aggregation)}

    @tf.function(input_signature=_FILES, autograph=False)
    def decode(audio):
        return decode_wav_files(audio, model.sample_rate)

    def text(audio, audio_len):
        # The computation of words is pruned from this signature's graph.
        found = recognize(audio, audio_len)
        return {key: found[key] for key in ("text", "confidence")}

    def everything(audio, audio_len):
        return text(audio, audio_len) if batchable else recognize(audio, audio_len)

    features_of = keras.Model(model.input, model.get_layer("normalization").output)

    def features(audio, audio_len):
        audio, audio_len = _checked(audio, audio_len)
        values, feature_len = features_of({"audio": audio, "audio_len": audio_len}, training=False)
        return {"features": values, "feature_len": feature_len}

    def log_probs(audio, audio_len):
        logits, logit_len = acoustic(audio, audio_len)
        return {"log_probs": tf.nn.log_softmax(logits), "log_probs_len": logit_len}

    def from_files(function):
        return lambda audio: function(*decode(audio))

    return {
        "serving_default": (everything, _AUDIO),
        "text": (text, _AUDIO),
        "features": (features, _AUDIO),
        "log_probs": (log_probs, _AUDIO),
        "audio_bytes": (from_files(everything), _FILES),
        "audio_bytes_text": (from_files(text), _FILES),
    }


def _checked(audio: tf.Tensor, audio_len: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Rejects impossible lengths and samples; sets the padding to zero."""
    shape = tf.shape(audio)
    same = tf.debugging.Assert(
        tf.equal(shape[0], tf.size(audio_len)),
        ["audio and audio_len: not the same number of rows:", shape[0], tf.size(audio_len)],
    )
    with tf.control_dependencies([same]):
        is_valid = valid_frames(audio_len, shape[1])
    audio = tf.where(is_valid, audio, 0.0)
    is_length = (audio_len >= 1) & (audio_len <= shape[1])
    is_finite = tf.reduce_all(tf.abs(audio) <= MAX_AMPLITUDE, axis=1)  # false for NaN as well
    too_loud = f" or beyond {MAX_AMPLITUDE:.1e}"
    checks = [
        _each(is_length, ["audio_len[", "]: is not between 1 and ", tf.strings.as_string(shape[1])]),
        _each(is_finite, ["audio[", f"]: holds samples that are not finite numbers (NaN or infinity){too_loud}"]),
    ]
    with tf.control_dependencies(checks):
        return tf.identity(audio), tf.identity(audio_len)


def _each(is_right: tf.Tensor, parts: list) -> tf.Operation:
    row = tf.strings.as_string(tf.argmin(tf.concat([tf.cast(is_right, tf.int32), [0]], 0)))  # the first wrong one
    return tf.debugging.Assert(tf.reduce_all(is_right), [tf.strings.join([parts[0], row, *parts[1:]])])
