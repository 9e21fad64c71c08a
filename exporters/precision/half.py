"""Weights kept as fp16 and computed with in fp32: half the size on any device, fp32's speed."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edge_rnn.contract.errors import ExportRefused

FEWEST_WEIGHTS = 256
LARGEST = float(np.finfo(np.float16).max)


def halve_weights(graph: bytes) -> bytes:
    """The graph with its weights as fp16, cast once when it is opened. Raises `ExportRefused` for one too large."""
    model = onnx.load_from_string(graph)
    kept, casts = [], []
    for tensor in model.graph.initializer:
        value = numpy_helper.to_array(tensor)
        if value.dtype != np.float32 or value.size < FEWEST_WEIGHTS:
            kept.append(tensor)
            continue
        if float(np.abs(value).max()) > LARGEST:
            raise ExportRefused(
                f"the weight {tensor.name!r} reaches {np.abs(value).max():.3g}, fp16 ends at {LARGEST:.0f}; use int8 or fp32"
            )
        kept.append(numpy_helper.from_array(value.astype(np.float16), f"{tensor.name}/fp16"))
        casts.append(helper.make_node("Cast", [f"{tensor.name}/fp16"], [tensor.name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.initializer[:], model.graph.node[:]
    model.graph.initializer.extend(kept)
    model.graph.node.extend(nodes)
    return bytes(model.SerializeToString(deterministic=True))
