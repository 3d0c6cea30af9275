"""Reading the float weights out of a dynamically quantised ONNX graph."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import torch
from torch import Tensor

from crosscue.errors import BackboneError


def read_weights(model: Any) -> dict[str, Tensor]:
    """Returns the parameters of an ONNX model under the names of the PyTorch modules it was exported from.

    Float initialisers keep their names. The int8 weight of a `MatMulInteger` node has none, so it is named after the
    node's path (``/a/b/MatMul_quant`` -> ``a.b.weight``): W = (q - zero_point) * scale per output channel, transposed to
    (out, in).

    Args:
        model: an `onnx.ModelProto`.

    Raises:
        BackboneError: a quantised weight without scale or zero point.
    """
    from onnx import numpy_helper

    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    weights = {
        name: torch.from_numpy(np.array(numpy_helper.to_array(tensor)))
        for name, tensor in stored.items()
        if not name.startswith("onnx::")
    }
    for node in model.graph.node:
        if node.op_type != "MatMulInteger":
            continue
        quantised, zero = node.input[1], node.input[3]
        scale = quantised.replace("_quantized", "_scale")
        if zero not in stored or scale not in stored:
            raise BackboneError(
                f"{node.name}: no scale or zero point. This is not the ONNX file the starter was made from."
            )
        q, z, s = (numpy_helper.to_array(stored[name]).astype(np.float32) for name in (quantised, zero, scale))
        path = re.sub(r"/MatMul_quant$", "", node.name).strip("/").replace("/", ".")
        weights[f"{path}.weight"] = torch.from_numpy(np.ascontiguousarray(((q - z) * s).T))  # (out, in)
    return weights
