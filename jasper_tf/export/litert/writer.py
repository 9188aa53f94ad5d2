"""Writes the LiteRT model of an export."""

from __future__ import annotations

from pathlib import Path

from jasper_tf.errors import UserError
from jasper_tf.export.edge.formats import EdgeJob
from jasper_tf.export.edge.read_network import read_network
from jasper_tf.export.litert.graph import build_litert


def write_litert(job: EdgeJob, folder: Path) -> None:
    """Writes `model.tflite`.

    Raises:
        UserError: as `build_litert`.
    """
    if job.quantize == "int8-static":
        raise UserError("--quantize int8-static: not written by --format litert yet; use int8-dynamic")
    (folder / job.format.file).write_bytes(build_litert(read_network(job.model), job.quantize))
