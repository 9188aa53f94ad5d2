"""The signatures of a SavedModel for live audio."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from jasper_tf.audio.load import MAX_AMPLITUDE
from jasper_tf.decoding.greedy.greedy_decoder import GreedyDecoder
from jasper_tf.export.saved_model.checks import assert_each_row
from jasper_tf.model.jasper_ctc import JasperCTC
from jasper_tf.model.streaming.requirements import is_streamable

Outputs = dict[str, tf.Tensor]


def stream_signatures(model: JasperCTC) -> dict[str, tuple[Callable[..., Outputs], list[tf.TensorSpec]]]:
    """Builds the signatures for live audio: name -> (function, inputs); none if the model needs whole recordings.

    The server keeps nothing: what a stream needs is in its state, which each answer returns and the next request sends.
    So any replica serves any step, and the rows of a batch are streams that begin and end when they like.

        stream_start: sample_rate [B] int32, that of the audio -> state [B,N] float32, zeros; frame_samples [B] int32,
            of which a chunk must be a multiple; flush_samples [B] int32, the chunk that brings a stream's last frames.
        stream: chunk [B,S] float32, chunk_len [B] int32, state [B,N] -> text [B] string, what the chunk adds to the
            text; log_probs [B,T',V+1] float32, log_probs_len [B] int32 of them; state [B,N].

    A stream goes on while chunk_len is S, and ends in the chunk with a smaller one (0: where it was). The frames that
    the look-ahead keeps come with the next `flush_samples` samples of any value, in the same chunk or in later ones.
    All texts together are the greedy text of the whole recording, and all log-probabilities its log-probabilities.

    The state is that of `StreamingModel` behind one more column: how many classes the last label is before the blank.

    Raises (both signatures, when called):
        tf.errors.InvalidArgumentError: names the wrong row of the batch and the reason.
    """
    if not is_streamable(model):
        return {}
    streaming, greedy = model.streaming, GreedyDecoder()
    blank, width = len(model.tokenizer), streaming.state_size + 1

    def stream_start(sample_rate):
        is_rate = tf.equal(sample_rate, model.sample_rate)
        why = f"]: the model hears {model.sample_rate} Hz; resample the audio"
        with tf.control_dependencies([assert_each_row(is_rate, ["sample_rate[", why])]):
            rows = tf.ones_like(sample_rate)
        return {
            "state": tf.zeros((tf.size(rows), width)),
            "frame_samples": rows * streaming.frame_samples,
            "flush_samples": rows * streaming.flush_samples,
        }

    def stream(chunk, chunk_len, state):
        chunk, chunk_len, state = _checked(chunk, chunk_len, state, streaming.frame_samples)
        log_probs, count, kept = streaming.step(chunk, state[:, 1:], chunk_len)
        # The last frame before goes in front: a label that continues is not written again.
        before = tf.clip_by_value(blank - tf.cast(state[:, 0], tf.int32), 0, blank)
        joined = tf.concat([tf.one_hot(before, blank + 1)[:, None], log_probs], axis=1)
        best = greedy(joined, count + 1).best()
        labels = tf.where(best.start_frame > 0, best.labels, -1)
        last = tf.gather(tf.argmax(joined, axis=-1, output_type=tf.int32), count, batch_dims=1)
        return {
            "text": model.tokenizer.decode_in_graph(labels),
            "log_probs": log_probs,
            "log_probs_len": count,
            "state": tf.concat([tf.cast(blank - last, tf.float32)[:, None], kept], axis=1),
        }

    inputs = [
        tf.TensorSpec((None, None), tf.float32, name="chunk"),
        tf.TensorSpec((None,), tf.int32, name="chunk_len"),
        tf.TensorSpec((None, width), tf.float32, name="state"),
    ]
    start_inputs = [tf.TensorSpec((None,), tf.int32, name="sample_rate")]
    return {"stream_start": (stream_start, start_inputs), "stream": (stream, inputs)}


def _checked(chunk, chunk_len, state, frame_samples: int) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Rejects impossible chunks and states."""
    rows, samples = tf.unstack(tf.shape(chunk))
    same = tf.debugging.Assert(
        tf.reduce_all(tf.equal([tf.size(chunk_len), tf.shape(state)[0]], rows)),
        ["chunk, chunk_len and state: not the same number of rows:", rows, tf.size(chunk_len), tf.shape(state)[0]],
    )
    whole = tf.debugging.Assert(
        tf.logical_and(samples > 0, tf.equal(samples % frame_samples, 0)),
        [f"chunk: must be a multiple of {frame_samples} samples, not", samples],
    )
    with tf.control_dependencies([same, whole]):
        is_length = (chunk_len >= 0) & (chunk_len <= samples)
        chunk = tf.where(tf.sequence_mask(chunk_len, samples), chunk, 0.0)
    is_finite = tf.reduce_all(tf.abs(chunk) <= MAX_AMPLITUDE, axis=1)  # false for NaN as well
    is_state = tf.reduce_all(tf.math.is_finite(state), axis=1)
    checks = [
        assert_each_row(is_length, ["chunk_len[", "]: is not between 0 and ", tf.strings.as_string(samples)]),
        assert_each_row(
            is_finite, ["chunk[", f"]: holds samples that are not finite numbers or beyond {MAX_AMPLITUDE:.1e}"]
        ),
        assert_each_row(is_state, ["state[", "]: is not that of a stream; zeros begin one"]),
    ]
    with tf.control_dependencies(checks):
        return tf.identity(chunk), tf.identity(chunk_len), tf.identity(state)
