"""ONNX files of the two graphs, with a free batch and a free length."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from crosscue.errors import MethodError
from crosscue.exporting.graphs import ImageGraph, TextGraph
from crosscue.storage import writing

BATCHES = (1, 3, 7)
"""Batches at which a graph must equal its module before it is written."""
MOST = 4096
"""Largest batch that a graph is made for."""
CLOSE = 1e-5
"""Greatest difference of a component."""
LARGEST = 1_900_000_000
"""Bytes of weights in one file; a larger graph has them beside it, in `model.onnx.data`."""
OUTPUT = "vector"
"""Name of the output. `embedding` collides with the node of `nn.Embedding`, and ONNX Runtime refuses the file."""

Vectors = np.ndarray[Any, np.dtype[np.float32]]


@dataclass(frozen=True)
class Plan:
    """A module that becomes a graph, and the inputs it is compared on."""

    graph: nn.Module
    name: str
    """Name of its one input."""
    samples: list[Tensor]
    """Inputs of different shapes; the second one traces the module."""
    free: dict[int, Any]
    """Dimensions of the input that the graph leaves free."""


def image_plan(graph: ImageGraph) -> Plan:
    """Plans `image` (B, 3, S, S) float32, normalised -> `vector` (B, D)."""
    size = graph.method.backbone.pixels.size
    generator = torch.Generator().manual_seed(0)
    samples = [torch.randn(count, 3, size, size, generator=generator) for count in BATCHES]
    return Plan(graph, "image", samples, {0: torch.export.Dim("batch", min=1, max=MOST)})


def text_plan(graph: TextGraph) -> Plan:
    """Plans `text` (B, N) int32 -> `vector` (B, D), for texts of every length and padding up to the context length."""
    own, length = graph.given.own, graph.given.length
    word, edge = own.content(["a"])[0][0], len(own.prefix) + len(own.suffix)
    samples = []
    for count, columns in zip(BATCHES, (length, min(length, 9), max(length // 2, 4)), strict=True):
        words = [1 + row % max(columns - edge, 1) for row in range(count)]
        rows = [[*own.prefix, *[word] * number, *own.suffix] for number in words]
        samples.append(torch.tensor([row + [own.pad] * (columns - len(row)) for row in rows], dtype=torch.int32))
    free = {0: torch.export.Dim("batch", min=1, max=MOST), 1: torch.export.Dim("length", min=3, max=length)}
    return Plan(graph, "text", samples, free)


def traced(plan: Plan) -> torch.export.ExportedProgram:
    """Returns the operations of a module.

    Raises:
        MethodError: the module depends on values, or its batch is fixed.
    """
    try:
        with quiet():
            return torch.export.export(plan.graph, (plan.samples[1],), dynamic_shapes={plan.name: plan.free})
    except Exception as error:  # torch.export has no common class of errors
        reason = " ".join(str(error).split())[:200]
        raise MethodError(f"the {plan.name} encoder of this method has no graph with a free batch: {reason}") from error


def write(plan: Plan, target: Path, opset: int) -> None:
    """Writes a module as an ONNX file and compares the two; what is refused may stay on the disk.

    Args:
        plan: the module.
        target: the file.
        opset: version of the operators.

    Raises:
        MethodError: the batch is fixed in the graph, or the graph computes something else.
    """
    from onnxruntime import InferenceSession

    program = traced(plan)
    with quiet():
        found = torch.onnx.export(
            program, input_names=[plan.name], output_names=[OUTPUT], opset_version=opset, dynamo=True, verbose=False
        )
    assert found is not None
    size = sum(tensor.numel() * tensor.element_size() for tensor in program.state_dict.values())
    target.parent.mkdir(parents=True, exist_ok=True)
    with writing(target):
        found.save(str(target), external_data=size > LARGEST)
    session = InferenceSession(str(target), providers=["CPUExecutionProvider"])
    check(plan, lambda sample: session.run([OUTPUT], {plan.name: sample.numpy()})[0])


def check(plan: Plan, run: Callable[[Tensor], Vectors]) -> None:
    """Raises `MethodError` unless `run` computes what the module computes, on all samples."""
    for sample in plan.samples:
        wanted, shape = plan.graph(sample).numpy(), tuple(sample.shape)
        try:
            found = run(sample)
        except Exception as error:  # ONNX Runtime has no common class of errors
            reason = str(error).splitlines()[0][:160]
            raise MethodError(
                f"the {plan.name} graph does not run at shape {shape}, so its batch is fixed: {reason}"
            ) from error
        if found.shape != wanted.shape or not float(np.abs(found - wanted).max()) <= CLOSE:
            raise MethodError(
                f"the {plan.name} graph gives other vectors than the method at shape {shape}. Report this."
            )


@contextmanager
def quiet() -> Iterator[None]:
    """Silences the exporter's notes on its own packages."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
