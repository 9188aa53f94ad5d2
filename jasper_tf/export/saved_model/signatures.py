"""The signatures of a SavedModel: one network, several inputs and outputs."""

from __future__ import annotations

from collections.abc import Callable

import keras
import tensorflow as tf

from jasper_tf.audio.load import MAX_AMPLITUDE
from jasper_tf.decoding.beam.beam_decoder import BeamDecoder
from jasper_tf.decoding.decoder import Decoder
from jasper_tf.decoding.greedy.greedy_decoder import GreedyDecoder
from jasper_tf.decoding.outputs import text_outputs
from jasper_tf.export.saved_model.checks import assert_each_row
from jasper_tf.export.saved_model.stream_signatures import stream_signatures
from jasper_tf.export.saved_model.wav_decoding import decode_wav_files
from jasper_tf.features.valid_frames import valid_frames
from jasper_tf.model.jasper_ctc import JasperCTC

Outputs = dict[str, tf.Tensor]

_AUDIO = [tf.TensorSpec((None, None), tf.float32, name="audio"), tf.TensorSpec((None,), tf.int32, name="audio_len")]
_FILES = [tf.TensorSpec((None,), tf.string, name="audio")]
_HOT_WORDS = [
    tf.TensorSpec((None,), tf.string, name="hot_words"),
    tf.TensorSpec((None,), tf.float32, name="hot_word_weights"),
]


def signatures(
    model: JasperCTC, decoder: Decoder, batchable: bool = False
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
    From live audio, where the model can: see `stream_signatures`.

    With a beam search these four also take hot_words [H] string (UTF-8) and hot_word_weights [H] float32, the words or
    phrases that this request expects and what a text gains by each (see `encode_hot_words_in_graph`; H = 0: those of
    the decoder's configuration); and where the decoder returns several hypotheses they give n_best_text [B,K] string
    and n_best_score [B,K] float32 (see `text_outputs`). Then four more are without the beam, and take no hot words:
        greedy, greedy_text, greedy_audio_bytes, greedy_audio_bytes_text.

    Confidences are those of the decoder, `group_words` and `utterance_confidence`.

    TensorFlow Serving's batching covers all signatures of a SavedModel, splits every output into the rows of the
    requests, and fails on outputs without one row per utterance, such as W words (batching_session.cc,
    SplitOutputTensors). It also joins the inputs of requests row by row. Models for servers that batch are therefore
    exported without words, and take no hot words.

    Args:
        model: a recognizer.
        decoder: what gives the text.
        batchable: no words: serving_default is text, and audio_bytes is audio_bytes_text. Every input and output has B
            rows: hot words are those of the decoder's configuration.

    Raises (all signatures, when called):
        tf.errors.InvalidArgumentError: names the wrong row of the batch and the reason.
    """

    # Traced once and called by several signatures, so that the file contains network and decoding once.
    @tf.function(input_signature=_AUDIO, autograph=False)
    def acoustic(audio, audio_len):
        audio, audio_len = _checked(audio, audio_len)
        out = model({"audio": audio, "audio_len": audio_len}, training=False)
        return out["logits"], out["logit_len"]

    @tf.function(input_signature=_FILES, autograph=False)
    def decode(audio):
        return decode_wav_files(audio, model.sample_rate)

    def recognizers(decoder: Decoder, names: list[str]):
        """The signatures `names`: everything, text, and both from files."""
        of_request = _HOT_WORDS if isinstance(decoder, BeamDecoder) and not batchable else []

        @tf.function(input_signature=[*_AUDIO, *of_request], autograph=False)
        def recognize(audio, audio_len, *hot_words):
            given = [decoder.encode_hot_words_in_graph(*hot_words)] if hot_words else []
            hypotheses = decoder(*acoustic(audio, audio_len), *given)
            return text_outputs(hypotheses, model.tokenizer, model.frame_s, decoder.word_aggregation)

        def text(*inputs):
            # The computation of words is pruned from this signature's graph.
            return {key: value for key, value in recognize(*inputs).items() if not key.startswith("words")}

        everything = text if batchable else recognize
        functions = [everything, text, from_files(everything), from_files(text)]
        if of_request:
            functions = [_optional_hot_words(function, k > 1) for k, function in enumerate(functions)]
        inputs = [[*kind, *of_request] for kind in (_AUDIO, _AUDIO, _FILES, _FILES)]
        return dict(zip(names, zip(functions, inputs, strict=True), strict=True))

    def from_files(function):
        return lambda audio, *hot_words: function(*decode(audio), *hot_words)

    features_of = keras.Model(model.input, model.get_layer("normalization").output)

    def features(audio, audio_len):
        audio, audio_len = _checked(audio, audio_len)
        values, feature_len = features_of({"audio": audio, "audio_len": audio_len}, training=False)
        return {"features": values, "feature_len": feature_len}

    def log_probs(audio, audio_len):
        logits, logit_len = acoustic(audio, audio_len)
        return {"log_probs": tf.nn.log_softmax(logits), "log_probs_len": logit_len}

    found = {"features": (features, _AUDIO), "log_probs": (log_probs, _AUDIO)} | stream_signatures(model)
    found |= recognizers(decoder, ["serving_default", "text", "audio_bytes", "audio_bytes_text"])
    if isinstance(decoder, BeamDecoder):
        greedy = GreedyDecoder(decoder.confidence)
        found |= recognizers(greedy, ["greedy", "greedy_text", "greedy_audio_bytes", "greedy_audio_bytes_text"])
    return found


def _optional_hot_words(function, from_files: bool):
    """The same with values for a request without hot words, which newer versions of TensorFlow Serving fill in."""
    none, no_weights = tf.constant([], tf.string), tf.constant([], tf.float32)

    def of_files(audio, hot_words=none, hot_word_weights=no_weights):
        return function(audio, hot_words, hot_word_weights)

    def of_audio(audio, audio_len, hot_words=none, hot_word_weights=no_weights):
        return function(audio, audio_len, hot_words, hot_word_weights)

    return of_files if from_files else of_audio


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
        assert_each_row(is_length, ["audio_len[", "]: is not between 1 and ", tf.strings.as_string(shape[1])]),
        assert_each_row(
            is_finite, ["audio[", f"]: holds samples that are not finite numbers (NaN or infinity){too_loud}"]
        ),
    ]
    with tf.control_dependencies(checks):
        return tf.identity(audio), tf.identity(audio_len)
