"""Puts the transcription of a stream together."""

from __future__ import annotations

from typing import TypeGuard

from jasper_tf.decoding.beam.beam_decoder import BeamDecoder
from jasper_tf.decoding.beam.hot_word_file import GivenHotWords
from jasper_tf.decoding.deferred import DeferredDecoder
from jasper_tf.decoding.greedy.greedy_array_decoder import GreedyArrayDecoder
from jasper_tf.decoding.greedy.greedy_decoder import GreedyDecoder
from jasper_tf.decoding.hypothesis_decoder import HypothesisDecoder
from jasper_tf.errors import UserError
from jasper_tf.inference.alignment.recording_frames import AcousticModel
from jasper_tf.inference.streaming.beam_live_decoder import BeamLiveDecoder
from jasper_tf.inference.streaming.buffered_log_probs import BufferedLogProbs, validate_window
from jasper_tf.inference.streaming.greedy_live_decoder import GreedyLiveDecoder
from jasper_tf.inference.streaming.live_decoder import LiveDecoder
from jasper_tf.inference.streaming.live_transcription import LiveTranscription
from jasper_tf.inference.streaming.log_prob_stream import LogProbStream
from jasper_tf.inference.streaming.stateful_log_probs import StatefulLogProbs, SteppingModel

_LONGEST_LOOKAHEAD_S = 2.0
"""A deep network with symmetric kernels looks many seconds ahead: buffered chunks answer sooner."""


def start_stream(
    model: AcousticModel,
    decoder: HypothesisDecoder,
    left_s: float,
    chunk_s: float,
    right_s: float,
    endpoint_s: float,
    hot_words: GivenHotWords | None,
    sample_rate: int | None,
) -> LiveTranscription:
    """Starts a stream; arguments as `Transcriber.stream`.

    Raises:
        UserError: a value is out of range; hot words that the decoder cannot use.
    """
    log_probs = start_log_probs(model, left_s, chunk_s, right_s)
    live = start_decoder(decoder, model, hot_words)
    return LiveTranscription(log_probs, live, endpoint_s, sample_rate)


def start_log_probs(model: AcousticModel, left_s: float, chunk_s: float, right_s: float) -> LogProbStream:
    """The stream of log-probabilities of a model: the exact one where the model has it and does not look far ahead.

    Raises:
        UserError: as `validate_window`, also where the model needs no window.
    """
    validate_window(left_s, chunk_s, right_s)
    if _can_step(model) and model.streaming.lookahead_s <= _LONGEST_LOOKAHEAD_S:
        return StatefulLogProbs(model, chunk_s)
    return BufferedLogProbs(model, left_s, chunk_s, right_s)


def _can_step(model: AcousticModel) -> TypeGuard[SteppingModel]:
    try:
        return getattr(model, "streaming", None) is not None
    except UserError:  # of a JasperCTC that needs the whole recording, or of what passes its attributes on
        return False


def start_decoder(
    decoder: HypothesisDecoder, model: AcousticModel, hot_words: GivenHotWords | None = None
) -> LiveDecoder:
    """The decoder of one stream.

    Raises:
        UserError: hot words that it cannot use.
    """
    if isinstance(decoder, DeferredDecoder):
        decoder = decoder.decoder()
    encoded = None if hot_words is None else decoder.encode_hot_words(hot_words)
    if isinstance(decoder, BeamDecoder):
        return BeamLiveDecoder(decoder, model.frame_s, encoded)
    if isinstance(decoder, (GreedyDecoder, GreedyArrayDecoder)):
        return GreedyLiveDecoder(decoder, model.tokenizer, model.frame_s)
    raise TypeError(f"{type(decoder).__name__} does not decode streams")
