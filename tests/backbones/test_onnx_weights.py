"""Float weights out of an int8 graph, checked against onnxruntime running the graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from crosscue.backbones.onnx_weights import read_weights
from crosscue.errors import BackboneError

onnx = pytest.importorskip("onnx")
QUANTISED = "onnx::MatMul_7_quantized"


def quantised_linear(*, scale_name: str = "onnx::MatMul_7_scale") -> tuple[Any, np.ndarray]:
    """A graph x -> x W + b as onnxruntime's dynamic quantisation writes it, and W (in, out)."""
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    q = rng.integers(-127, 128, (6, 4)).astype(np.int8)
    zero = np.array([0, 3, -5, 0], np.int8)
    scale = rng.uniform(0.01, 0.03, 4).astype(np.float32)
    stored = {
        QUANTISED: q,
        "onnx::MatMul_7_zero_point": zero,
        scale_name: scale,
        "proj.bias": rng.normal(size=4).astype(np.float32),
    }
    path = "/proj/MatMul"
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["x_q", "x_scale", "x_zero"], "quantise"),
        helper.make_node(
            "MatMulInteger", ["x_q", QUANTISED, "x_zero", "onnx::MatMul_7_zero_point"], ["int"], f"{path}_quant"
        ),
        helper.make_node("Cast", ["int"], ["float"], f"{path}_cast", to=TensorProto.FLOAT),
        helper.make_node("Mul", ["x_scale", scale_name], ["scales"], f"{path}_scales"),
        helper.make_node("Mul", ["float", "scales"], ["product"], f"{path}_mul"),
        helper.make_node("Add", ["product", "proj.bias"], ["y"], "/proj/Add"),
    ]
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
        [numpy_helper.from_array(value, name) for name, value in stored.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return model, (q.astype(np.float32) - zero.astype(np.float32)) * scale


def test_the_weight_is_dequantised_transposed_and_named_by_its_path() -> None:
    model, expected = quantised_linear()
    weights = read_weights(model)
    assert weights.keys() == {"proj.weight", "proj.bias"}
    assert torch.equal(weights["proj.weight"], torch.from_numpy(expected.T))


def test_the_float_layer_computes_what_the_graph_computes() -> None:
    runtime = pytest.importorskip("onnxruntime")
    model, _ = quantised_linear()
    weights = read_weights(model)
    x = torch.from_numpy(np.random.default_rng(1).uniform(-1, 1, (50, 6)).astype(np.float32))
    options = runtime.SessionOptions()
    options.add_session_config_entry("session.x64quantprecision", "1")  # int8 sums saturate on CPUs without VNNI
    (graph,) = runtime.InferenceSession(model.SerializeToString(), options).run(None, {"x": x.numpy()})
    ours = torch.nn.functional.linear(x, weights["proj.weight"], weights["proj.bias"])
    step = 2 / 255  # of the activations, of which the graph rounds each by half a step at most
    bound = 0.6 * step * weights["proj.weight"].abs().sum(1)
    assert ((ours - torch.from_numpy(graph)).abs() <= bound).all()


def test_a_graph_without_scales_is_refused() -> None:
    model, _ = quantised_linear(scale_name="elsewhere")
    with pytest.raises(BackboneError, match=r"/proj/MatMul_quant: no scale or zero point"):
        read_weights(model)
