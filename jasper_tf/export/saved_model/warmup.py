"""Warm-up requests, which TensorFlow Serving runs when it loads a version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

WARMUP_FILE = "tf_serving_warmup_requests"
"""The name that TensorFlow Serving looks for in `assets.extra`."""


def write_warmup_requests(
    file: str | Path,
    model_name: str,
    signatures: Mapping[str, Sequence[str]],
    sample_rate: int,
    hot_word: str = "",
    seconds: float = 2.0,
    stream: Mapping[str, tf.Tensor] | None = None,
) -> None:
    """Writes a TFRecord of PredictionLog messages, one per signature: one row of quiet noise, and one hot word.

    The first request of a signature is slow: its graph is optimized and the memory of its kernels allocated.

    Args:
        file: `assets.extra/tf_serving_warmup_requests` of a version.
        model_name: the name on the server, which accepts the requests under any name.
        signatures: those that give text, with the names of their inputs.
        sample_rate: of the model, Hz.
        hot_word: of letters that the model has.
        seconds: of audio in each request.
        stream: inputs of the signature `stream`, if the model has it.
    """
    audio = np.random.default_rng(0).normal(scale=0.01, size=int(seconds * sample_rate)).astype(np.float32)
    pcm = tf.constant(np.round(audio[:, None] * 2**15).astype(np.int16))
    wav = tf.audio.encode_wav(tf.cast(pcm, tf.float32) / 2**15, sample_rate)
    values = {
        "audio_len": tf.constant([len(audio)], tf.int32),
        "hot_words": tf.constant([hot_word]),
        "hot_word_weights": tf.constant([1.0]),
    }
    with tf.io.TFRecordWriter(str(file)) as records:
        for signature, names in signatures.items():
            sound = tf.constant(audio[None]) if "audio_len" in names else wav[None]
            inputs = {name: sound if name == "audio" else values[name] for name in names}
            records.write(prediction_log(model_name, signature, inputs))
        if stream:
            records.write(prediction_log(model_name, "stream", stream))


def prediction_log(model_name: str, signature: str, inputs: Mapping[str, tf.Tensor]) -> bytes:
    """A serialized tensorflow.serving.PredictionLog with one PredictRequest.

    Written by hand, five fields, because an export should not need tensorflow-serving-api, the package of gRPC clients
    (prediction_log.proto, predict.proto, model.proto of TensorFlow Serving).
    """
    spec = _field(1, model_name.encode()) + _field(3, signature.encode())  # ModelSpec: name, signature_name
    request = _field(1, spec)  # PredictRequest: model_spec, inputs
    for name, value in inputs.items():
        tensor = tf.make_tensor_proto(value.numpy()).SerializeToString()
        request += _field(2, _field(1, name.encode()) + _field(2, tensor))  # an entry of a map: key, value
    return _field(6, _field(1, request))  # PredictionLog: predict_log; PredictLog: request


def _field(number: int, value: bytes) -> bytes:
    """A length-delimited field as Protocol Buffers encode it."""
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    digits = bytearray()
    while value > 127:
        digits.append(value & 127 | 128)
        value >>= 7
    return bytes([*digits, value])
