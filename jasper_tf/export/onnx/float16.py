"""Stores weights of an ONNX model as float16."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def store_as_float16(model: onnx.ModelProto, scopes: tuple[str, ...] = ("encoder/", "head/")) -> None:
    """Halves the file: weights of these scopes are stored as float16, and made float32 again when it is loaded.

    The front end keeps its precision: the logarithm of small energies needs it.
    """
    casts = []
    for weight in model.graph.initializer:
        if weight.data_type == TensorProto.FLOAT and weight.name.startswith(scopes):
            name, limit = weight.name, float(np.finfo(np.float16).max)
            halved = np.clip(numpy_helper.to_array(weight), -limit, limit).astype(np.float16)
            weight.CopyFrom(numpy_helper.from_array(halved, f"{name}_float16"))
            casts.append(helper.make_node("Cast", [weight.name], [name], name=name, to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
