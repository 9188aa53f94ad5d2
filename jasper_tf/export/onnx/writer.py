"""Writes the ONNX models of an export."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx

from jasper_tf.errors import UserError
from jasper_tf.export.edge.formats import EdgeJob
from jasper_tf.export.edge.input_statistics import measure_inputs
from jasper_tf.export.edge.kernel_rounding import round_kernels
from jasper_tf.export.edge.network import Convolution, Network
from jasper_tf.export.edge.read_network import read_network
from jasper_tf.export.onnx.encoder import Precision
from jasper_tf.export.onnx.float16 import store_as_float16
from jasper_tf.export.onnx.int8 import StaticInt8
from jasper_tf.export.onnx.model import make_onnx
from jasper_tf.export.onnx.ranges import find_ranges
from jasper_tf.export.onnx.sherpa import make_sherpa_nemo, make_sherpa_raw, write_tokens
from jasper_tf.export.onnx.stream import make_onnx_stream
from jasper_tf.model.streaming.requirements import is_streamable

_MOST_BYTES = 2**31 - 1
"""Of a message of Protocol Buffers."""

_TARGETS = {"sherpa-nemo": make_sherpa_nemo, "sherpa-raw": make_sherpa_raw}


def write_onnx(job: EdgeJob, folder: Path) -> None:
    """Writes `model.onnx`, its steps if it can stream, and for each target a model of its own and `tokens.txt`.

    Raises:
        UserError: as `read_network`, `make_sherpa_nemo` and `make_sherpa_raw`; the model is larger than 2 GB.
    """
    network = read_network(job.model)
    if job.quantize.startswith("int8") and job.recordings:
        rounded = _rounded_kernels(network, job.quantize)
        network = round_kernels(network, measure_inputs(job.model, network, job.recordings), rounded)
    precision = _precision(job, network)
    models = {job.format.file: make_onnx(network, precision).proto}
    if job.format.stream_file and is_streamable(job.model):
        models[job.format.stream_file] = make_onnx_stream(network, job.model.streaming, precision)
    for target in job.targets:
        models[f"{target}.onnx"] = _TARGETS[target](job, network, precision)
    for name, model in models.items():
        if job.quantize == "float16":
            store_as_float16(model)
        _save(model, folder / name)
    if job.targets:
        write_tokens(job.model.tokenizer, folder / "tokens.txt")


def _precision(job: EdgeJob, network: Network) -> Precision:
    if job.quantize == "int8-dynamic":
        return "dynamic"
    if job.quantize == "int8-static":
        return StaticInt8(find_ranges(make_onnx(network), [clip.audio for clip in job.calibration]))
    return None


def _rounded_kernels(network: Network, quantize: str) -> Callable[[Convolution], bool]:
    """Whether `EncoderWriter` gives a convolution's weights 8 bits."""
    whole = [network.head]
    if quantize == "int8-static":
        whole += [network.blocks[0].stages[0].convolutions[0]]
        whole += [r.stage.convolutions[0] for block in network.blocks for r in block.residuals if r.source == 0]
        return lambda convolution: all(convolution is not other for other in whole)
    return lambda convolution: convolution.groups == 1 and convolution is not network.head


def _save(model: onnx.ModelProto, file: Path) -> None:
    if model.ByteSize() > _MOST_BYTES:
        raise UserError(f"{file.name}: {model.ByteSize() / 1e9:.1f} GB; ONNX files hold 2.1 at most; use --quantize")
    onnx.checker.check_model(model, full_check=True)
    file.write_bytes(model.SerializeToString())
