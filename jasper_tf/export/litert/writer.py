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
    content = build_litert(network, "none" if job.quantize.startswith("int8") else job.quantize)
    if job.quantize.startswith("int8"):
        spoken = [clip for clip in job.calibration if clip.text is not None]
        activations = measure_activations(content, spoken) if spoken else None
        content = build_litert(network, job.quantize, activations)
    (folder / job.format.file).write_bytes(content)
