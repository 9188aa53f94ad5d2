"""Writes the LiteRT model of an export."""

from __future__ import annotations

from pathlib import Path

from jasper_tf.export.edge.formats import EdgeJob
from jasper_tf.export.edge.input_statistics import measure_inputs
from jasper_tf.export.edge.kernel_rounding import round_kernels
from jasper_tf.export.edge.read_network import read_network
from jasper_tf.export.litert.activations import measure_activations
from jasper_tf.export.litert.graph import build_litert
from jasper_tf.export.litert.stream import build_litert_stream
from jasper_tf.model.streaming.requirements import is_streamable


def write_litert(job: EdgeJob, folder: Path) -> None:
    """Writes `model.tflite`, and `model.stream.tflite` for a model that can stream.

    Raises:
        UserError: as `build_litert`.
    """
    network = read_network(job.model)
    activations = None
    if job.quantize.startswith("int8") and job.recordings:
        inputs = measure_inputs(job.model, network, job.recordings)
        network = round_kernels(network, inputs, lambda convolution: not convolution.is_depthwise)
    if job.quantize == "int8-static":
        activations = measure_activations(build_litert(network, measured=True), job.recordings)
    (folder / job.format.file).write_bytes(build_litert(network, job.quantize, activations))
    if job.format.stream_file and is_streamable(job.model):
        content = build_litert_stream(network, job.model.streaming, job.quantize, activations)
        (folder / job.format.stream_file).write_bytes(content)
