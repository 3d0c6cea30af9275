"""ONNX files of the two graphs, with a free batch and a free length."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from crosscue.errors import MethodError
from crosscue.exporting.graphs import ImageGraph, TextGraph
from crosscue.storage import atomic_file

BATCHES = (1, 3, 7)
"""Batches at which a graph must equal its module before it is written."""
CLOSE = 1e-5
"""Greatest difference of a component."""
OUTPUT = "vector"
"""Name of the output. `embedding` collides with the node of `nn.Embedding`, and ONNX Runtime refuses the file."""


def export_images(graph: ImageGraph, target: Path, opset: int) -> None:
    """Writes the image graph: `image` (B, 3, S, S) float32, normalised -> `vector` (B, D)."""
    size = graph.method.backbone.pixels.size
    generator = torch.Generator().manual_seed(0)
    samples = [torch.randn(count, 3, size, size, generator=generator) for count in BATCHES]
    batch = torch.export.Dim("batch", min=1, max=4096)
    export(graph, "image", samples, {0: batch}, target, opset)


def export_texts(graph: TextGraph, target: Path, opset: int) -> None:
    """Writes the text graph: `text` (B, N) int32 -> `vector` (B, D)."""
    own, length = graph.given.own, graph.given.length
    word = own.content(["a"])[0][0]
    samples = []
    for count, columns in zip(BATCHES, (length, min(length, 9), max(length // 2, 4)), strict=True):
        words = [1 + row % max(columns - len(own.prefix) - len(own.suffix), 1) for row in range(count)]
        rows = [[*own.prefix, *[word] * number, *own.suffix] for number in words]
        samples.append(torch.tensor([row + [own.pad] * (columns - len(row)) for row in rows], dtype=torch.int32))
    dynamic = {0: torch.export.Dim("batch", min=1, max=4096), 1: torch.export.Dim("length", min=3, max=length)}
    export(graph, "text", samples, dynamic, target, opset)


def export(
    graph: nn.Module, name: str, samples: list[Tensor], dynamic: Mapping[int, object], target: Path, opset: int
) -> None:
    """Writes a module as an ONNX file that was compared with it.

    Args:
        graph: the module, of one input.
        name: name of the input.
        samples: inputs of different batches; the second traces the module.
        dynamic: free dimensions of the input.
        target: the file.
        opset: version of the operators.

    Raises:
        MethodError: the batch is fixed in the graph, or the graph computes something else.
    """
    with warnings.catch_warnings(), quiet():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            graph,
            (samples[1],),
            input_names=[name],
            output_names=[OUTPUT],
            dynamic_shapes={name: dynamic},
            opset_version=opset,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    with atomic_file(target) as part:
        program.save(str(part), include_initializers=True, external_data=False)
        check(graph, name, samples, part)


def check(graph: nn.Module, name: str, samples: list[Tensor], file: Path) -> None:
    """Raises `MethodError` unless a file equals its module on the samples."""
    from onnxruntime import InferenceSession

    session = InferenceSession(str(file), providers=["CPUExecutionProvider"])
    for sample in samples:
        wanted = graph(sample).numpy()
        try:
            found = session.run([OUTPUT], {name: sample.numpy()})[0]
        except Exception as error:  # ONNX Runtime has no common class of errors
            reason = str(error).splitlines()[0][:160]
            raise MethodError(f"the graph of {name}s has a fixed batch or length: {reason}. Report this.") from error
        if found.shape != wanted.shape or float(np.abs(found - wanted).max()) > CLOSE:
            raise MethodError(
                f"the graph of {name}s gives other vectors than the method at shape {tuple(sample.shape)}."
            )


class quiet:
    """Silence of the exporter's notes on its own packages."""

    def __enter__(self) -> None:
        self.level = logging.root.manager.disable
        logging.disable(logging.WARNING)

    def __exit__(self, *_: object) -> None:
        logging.disable(self.level)
