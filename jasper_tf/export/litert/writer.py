"""Writes the LiteRT model of an export."""

from __future__ import annotations

from pathlib import Path

from jasper_tf.export.edge.formats import EdgeJob
from jasper_tf.export.edge.read_network import read_network
from jasper_tf.export.litert.activations import measure_activations
from jasper_tf.export.litert.graph import build_litert


def write_litert(job: EdgeJob, folder: Path) -> None:
    """Writes `model.tflite`.

    Raises:
        UserError: as `build_litert`.
    """
    network = read_network(job.model)
    spoken = [clip for clip in job.calibration if clip.text is not None]  # those of the user
    activations = None
    if spoken and job.quantize.startswith("int8"):
        activations = measure_activations(build_litert(network, measured=True), spoken)
    (folder / job.format.file).write_bytes(build_litert(network, job.quantize, activations))
