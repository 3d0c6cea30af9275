"""Kernels that could compute the linear maps of a frozen tower faster, against the one that does.

    python benchmarks/linear_kernels.py

The map is that of `ceiling.py`, (1,600, 768) x (768, 3,072), forward and to the gradient of its input, one thread. The ways of
one table alternate. `packed`: weights that oneDNN has laid out beforehand. `int8`: quantised products. Rounding of the
activations is counted for `quantized.linear_dynamic` alone, which does it itself. bf16 is left out where the CPU has none.
"""

from __future__ import annotations

import warnings

import torch
from ceiling import FLOPS, INNER, OUTER, ROWS
from harness import Way, alternate, print_table
from torch import Tensor
from torch.nn.functional import linear

from crosscue.backbones.precision import cpu_has_bf16_instructions

ROUNDS = 3


def ways_of(dtype: torch.dtype, inputs: Tensor, gradient: Tensor, weight: Tensor) -> dict[str, Way]:
    """Return the plain and the packed map in one dtype; the packed one only where oneDNN has it for this CPU."""
    rows, back, plain = inputs.to(dtype), gradient.to(dtype), weight.to(dtype)
    ways: dict[str, Way] = {"plain, forward": lambda _: linear(rows, plain), "plain, backward": lambda _: back @ plain}
    try:
        packed, turned = (torch.ops.mkldnn._reorder_linear_weight(each.contiguous(), ROWS) for each in (plain, plain.T))
    except RuntimeError as error:
        print(f"{dtype}: no packed weights: {error}".splitlines()[0])
        return ways
    multiply = torch.ops.mkldnn._linear_pointwise
    return ways | {
        "packed, forward": lambda _: multiply(rows, packed, None, "none", [], ""),
        "packed, backward": lambda _: multiply(back, turned, None, "none", [], ""),
    }


def int8_ways(inputs: Tensor, weight: Tensor) -> dict[str, Way]:
    """Return the int8 products of this build of torch."""
    small, other = ((100 * each).clamp(-127, 127).to(torch.int8) for each in (inputs, weight))
    ways: dict[str, Way] = {"int8, torch._int_mm": lambda _: torch._int_mm(small, other.T)}
    for engine in ("onednn", "fbgemm"):
        if engine in torch.backends.quantized.supported_engines:
            ways[f"int8, quantized.linear_dynamic of {engine}"] = dynamic(engine, inputs, weight)
    return ways


def dynamic(engine: str, inputs: Tensor, weight: Tensor) -> Way:
    """Return the map of torch's quantised modules, with weights per channel."""
    torch.backends.quantized.engine = engine
    scales, zeros = (weight.abs().amax(1) / 127).double(), torch.zeros(len(weight), dtype=torch.int64)
    packed = torch.ops.quantized.linear_prepack(torch.quantize_per_channel(weight, scales, zeros, 0, torch.qint8), None)

    def way(_: int) -> Tensor:
        torch.backends.quantized.engine = engine
        return torch.ops.quantized.linear_dynamic(inputs, packed, True)

    return way


@torch.no_grad()
def main() -> None:
    warnings.filterwarnings("ignore", message=".*quantize_per.*deprecated")
    generator = torch.Generator().manual_seed(0)
    inputs, gradient, weight = (
        torch.randn(*shape, generator=generator) for shape in ((ROWS, INNER), (ROWS, OUTER), (OUTER, INNER))
    )
    dtypes = (torch.float32, torch.bfloat16) if cpu_has_bf16_instructions() else (torch.float32,)  # else it is emulated
    tables = {str(dtype): ways_of(dtype, inputs, gradient, weight) for dtype in dtypes}
    tables["int8"] = {"plain float32, forward": lambda _: linear(inputs, weight), **int8_ways(inputs, weight)}
    for title, ways in tables.items():
        print_table(title, alternate(ways, ROUNDS), FLOPS * ROUNDS // 10**9, "GFLOP")


if __name__ == "__main__":
    main()
