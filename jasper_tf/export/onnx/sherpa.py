"""Models in the form that sherpa-onnx runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto

from jasper_tf.errors import UserError
from jasper_tf.export.edge.formats import EdgeJob
from jasper_tf.export.edge.network import Network
from jasper_tf.export.onnx.encoder import Precision
from jasper_tf.export.onnx.front_end import add_features
from jasper_tf.export.onnx.graph import Graph, size
from jasper_tf.export.onnx.model import add_network
from jasper_tf.text.tokenizer import Tokenizer

# What sherpa-onnx's feature extractor for NeMo's models computes, whatever the model.
_FEATURES = {
    "window": "hann",
    "n_fft": 512,
    "lowfreq_hz": 0.0,
    "highfreq_hz": 8000.0,
    "preemph": 0.97,
    "mag_power": 2.0,
    "mel_norm": "slaney",
    "log": True,
}
_RATE = 16000
_HOP_S = 0.01
_WINDOW_S = 0.025
_SHORTEST_WINDOW_S = 0.02
_RAW_FRAME_S = 0.02


def make_sherpa_nemo(job: EdgeJob, network: Network, precision: Precision) -> onnx.ModelProto:
    """Makes a model for `OfflineRecognizer.from_nemo_ctc`: sherpa-onnx computes the log-mel features.

    `audio_signal` [B,F,T] float32, `length` [B] int64 -> `logprobs` [B,T',V+1]. It normalizes the features itself.

    Raises:
        UserError: the model's features are not those that sherpa-onnx computes.
    """
    _require_sherpa_features(job)
    front = network.front_end
    graph = Graph()
    features = graph.op("Unsqueeze", "audio_signal", graph.ints(2), name="features_2d")
    length = graph.op("Cast", "length", to=TensorProto.INT32)
    found, _ = add_network(graph, network, features, length, precision)
    graph.rename(found.x, "logprobs")
    classes = network.head.kernel.shape[2]
    return graph.to_model(
        [("audio_signal", TensorProto.FLOAT, ["B", front.mel.shape[1], "T"]), ("length", TensorProto.INT64, ["B"])],
        [("logprobs", TensorProto.FLOAT, ["B", "T_out", classes])],
        {
            "model_type": "EncDecCTCModel",
            "vocab_size": str(classes - 1),
            "subsampling_factor": str(network.subsampling_factor),
            "normalize_type": "",
        },
    )


def make_sherpa_raw(job: EdgeJob, network: Network, precision: Precision) -> onnx.ModelProto:
    """Makes a model for `OfflineRecognizer.from_omnilingual_asr_ctc`: the front end is in the file.

    `audio` [1,S] -> `logits` [1,T',V+1]. sherpa-onnx scales each recording to a variance of 1; the model scales it to
    the median level of the calibration recordings, because what is added to the energies is fixed.

    Raises:
        UserError: the model's sample rate is not 16 kHz, or there are no calibration recordings.
    """
    if network.front_end.sample_rate != _RATE:
        raise UserError(
            f"--target sherpa-raw: sherpa-onnx gives audio of {_RATE} Hz, the model takes "
            f"{network.front_end.sample_rate} Hz; leave the target out"
        )
    if not job.recordings:
        raise UserError("--target sherpa-raw: needs recordings, for their level; add --calibration MANIFEST")
    if not np.isclose(job.model.frame_s, _RAW_FRAME_S):
        job.say(
            f"--target sherpa-raw: sherpa-onnx's times will be wrong: it counts {_RAW_FRAME_S * 1000:g} ms a frame, "
            f"the model has {job.model.frame_s * 1000:g} ms; multiply them by {job.model.frame_s / _RAW_FRAME_S:g}"
        )
    gain = float(np.median([np.std(clip.audio) for clip in job.calibration]))
    graph = Graph()
    with graph.scope("front_end"):
        audio = graph.op("Mul", "audio", graph.const(gain, np.float32))
        samples = graph.op("Unsqueeze", size(graph, audio, 1), graph.ints(0))
        features, feature_len = add_features(graph, network.front_end, audio, samples)
    found, _ = add_network(graph, network, features, feature_len, precision)
    frames = graph.op("Cast", found.length, to=TensorProto.INT64)
    graph.rename(graph.op("Slice", found.x, graph.ints(0), frames, graph.ints(1)), "logits")
    return graph.to_model(
        [("audio", TensorProto.FLOAT, [1, "S"])],
        [("logits", TensorProto.FLOAT, [1, "T", network.head.kernel.shape[2]])],
        {},
    )


def write_tokens(tokenizer: Tokenizer, file: Path) -> None:
    """Writes sherpa-onnx's `tokens.txt`: a piece and its class on each line, a space as `▁`, then the blank.

    A label that writes nothing, such as `<s>`, has its name there.

    Raises:
        UserError: a label is or has another white space, which the file cannot hold.
    """
    named = zip(tokenizer.pieces, tokenizer.vocabulary, strict=True)
    pieces = [piece.replace(" ", "▁") or name for piece, name in named]
    for piece in pieces:
        if any(character.isspace() for character in piece):
            raise UserError(f"--target: the label {piece!r} cannot be written to tokens.txt; leave the target out")
    lines = [f"{piece} {number}\n" for number, piece in enumerate([*pieces, "<blk>"])]
    file.write_text("".join(lines), encoding="utf-8")


def _require_sherpa_features(job: EdgeJob) -> None:
    about = job.model.get_layer("log_mel").get_config()
    about["highfreq_hz"] = about["highfreq_hz"] or about["sample_rate"] / 2
    about["n_fft"] = job.model.framing.fft_samples
    wrong = [(key, value, about[key]) for key, value in _FEATURES.items() if about[key] != value]
    if about["sample_rate"] != _RATE:
        wrong.insert(0, ("sample_rate", _RATE, about["sample_rate"]))
    if job.model.framing.hop_samples != round(_HOP_S * about["sample_rate"]):
        wrong.insert(0, ("window_stride", _HOP_S, about["window_stride_s"]))
    if not _SHORTEST_WINDOW_S <= about["window_size_s"] <= _WINDOW_S:
        wrong.insert(0, ("window_size", _WINDOW_S, about["window_size_s"]))
    if wrong:
        key, fixed, own = wrong[0]
        raise UserError(
            f"--target sherpa-nemo: preprocessor.{key.removesuffix('_hz')}: sherpa-onnx's features have {fixed}, "
            f"the model's {own}; use --target sherpa-raw"
        )
    if about["window_size_s"] != _WINDOW_S:
        job.say(
            f"--target sherpa-nemo: sherpa-onnx's window is {_WINDOW_S * 1000:g} ms, the model's "
            f"{about['window_size_s'] * 1000:g} ms: a few texts will differ; sherpa-raw has the model's own features"
        )
