"""The starter's image tower as a graph: real weights and images, in both precisions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from crosscue.backbones.loading import load_backbone
from crosscue.data.pairs import ImageFile
from crosscue.encoding.images import normalised
from crosscue.exporting.graphs import graphs
from crosscue.exporting.onnx import Plan, image_plan, write
from crosscue.exporting.parity import BOUNDS, least_cosine
from crosscue.exporting.quantising import quantise
from crosscue.methods.registry import build


@pytest.mark.slow
@pytest.mark.starter
@pytest.mark.shared
def test_eight_bits_keep_the_vectors_of_the_starter(shared: Path, tmp_path: Path) -> None:
    paths = sorted((shared / "flickr8k" / "images").glob("*.jpg"))[:: 2000 // 8][:8]
    method = build("zero_shot", load_backbone("starter", precision="fp32", device="cpu")).eval()
    spec = method.backbone.pixels
    pixels = np.stack([spec.read(ImageFile(path)) for path in paths])
    with graphs(method) as (graph, _):
        plan = image_plan(graph)
        write(Plan(graph, plan.name, plan.samples[:2], plan.free), tmp_path / "fp32.onnx", 18)
        wanted = graph(method.backbone.normalise(torch.from_numpy(pixels)))
    quantise(tmp_path / "fp32.onnx", tmp_path / "w8.onnx")
    assert (tmp_path / "w8.onnx").stat().st_size < 0.36 * (tmp_path / "fp32.onnx").stat().st_size
    for precision, bound in BOUNDS.items():
        session = onnxruntime.InferenceSession(str(tmp_path / f"{precision}.onnx"))
        found = session.run(None, {"image": normalised(pixels, spec)})[0]
        assert least_cosine(torch.from_numpy(found), wanted) >= bound, precision
