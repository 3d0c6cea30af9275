"""Graphs of every method, and of every family: equal to torch at three batches and three lengths."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.utils.parametrize import is_parametrized

from crosscue.backbones.protocol import ImageFeatures
from crosscue.errors import MethodError
from crosscue.exporting.graphs import ImageGraph, folded, graphs
from crosscue.exporting.onnx import CLOSE, check, image_plan, text_plan, traced, write
from crosscue.methods.zero_shot import ZeroShot
from crosscue.testing import FAMILIES, Case, tiny_backbone
from tests.grid import CASES

WRITTEN = {"dual_prompt": 0, "acke": 0, "coop": 1, "clip_adapter": 0, "lora": 1, "action": 0}
"""Methods, one for each kind of change to the towers, and the row whose graphs are written to files that ONNX Runtime runs."""


def combinations() -> Iterator[Any]:
    """Every row of the grid with one family; those of WRITTEN are written to files.

    A graph is made of the parts of a method around the towers of a family. Methods that follow each other have other families,
    so that prompts and changed weights meet the towers of every family. With CROSSCUE_FULL, every row meets every family, and all
    graphs are written.
    """
    if "CROSSCUE_FULL" in os.environ:
        every = ((case, family) for case in CASES if case.found.name != "filip" for family in case.families)
        yield from (pytest.param(case, family, True, id=f"{case}-on_{family}-written") for case, family in every)
        return
    names = list(dict.fromkeys(case.found.name for case in CASES if case.found.name != "filip"))
    for number, name in enumerate(names):
        rows = [case for case in CASES if case.found.name == name]
        families = [family for family in FAMILIES if family in rows[0].families]
        for place, case in enumerate(rows):
            family = families[(2 * number + place) % len(families)]
            written = place == WRITTEN.get(name)
            marks = [pytest.mark.slow] if name != "dual_prompt" else []
            yield pytest.param(case, family, written, id=f"{case}-on_{family}{'-written' * written}", marks=marks)


@pytest.mark.parametrize(("case", "family", "written"), combinations())
def test_a_graph_equals_its_method(case: Case, family: str, written: bool, tmp_path: Path) -> None:
    with graphs(case.build(tiny_backbone(family)).eval()) as both:
        for plan in (image_plan(both[0]), text_plan(both[1])):
            assert [len(sample) for sample in plan.samples] == [1, 3, 7]
            if written:
                write(plan, tmp_path / "model.onnx", 18)  # compares the file with the method
            else:
                program = traced(plan).module()
                check(plan, lambda sample, program=program: program(sample).detach().numpy())  # type: ignore[misc]


@pytest.mark.parametrize("family", FAMILIES)
def test_ids_and_texts_give_the_same_vectors_whatever_the_padding(family: str) -> None:
    method = Case("coop", {"context_tokens": 2, "class_token_position": "front"}).build(tiny_backbone(family)).eval()
    texts = ["a red thing", "two things on the photo of a dog and a cat, the dog is pink " * 3, "x"]
    with torch.no_grad():
        wanted = torch.cat([method.encode_text([text]) for text in texts])
    with graphs(method) as (_, graph), torch.no_grad():
        own, length = graph.given.own, graph.given.length
        assert length == method.backbone.context_length - 2
        room = length - len(own.prefix) - len(own.suffix)
        for row, text in enumerate(texts):
            pieces = [*own.prefix, *own.content([text])[0][:room], *own.suffix]
            for columns in {len(pieces), (len(pieces) + length) // 2, length}:
                padding = [own.pad, 7] * columns  # also with another token than the checkpoint's
                ids = torch.tensor([(pieces + padding)[:columns]], dtype=torch.int32)
                np.testing.assert_allclose(graph(ids)[0], wanted[row], atol=CLOSE)


def test_weights_that_are_computed_are_folded_into_a_copy() -> None:
    method = Case("full_ft", {"alpha": 0.5}).build(tiny_backbone("clip")).eval()
    for parameter in method.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.02)
    plain = folded(method)
    assert not any(map(is_parametrized, plain.modules()))
    assert any(map(is_parametrized, method.modules()))
    texts, images = ["a red thing"], torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(plain.encode_text(texts), method.encode_text(texts))
        torch.testing.assert_close(plain.encode_image(images), method.encode_image(images))
        assert (
            plain.encode_text(texts) - plain.backbone.encode_text(plain.backbone.tokenize(texts)).pooled
        ).abs().max() > 0.01
    assert folded(plain) is plain


class FixedBatch(ZeroShot):
    """Method whose image encoder turns the batch into a constant, as `len` of a tensor does."""

    def image_features(self, images: Any) -> Tensor:
        assert isinstance(images, Tensor)
        features: ImageFeatures = self.backbone.encode_image(images)
        return features.pooled + torch.zeros(len(images), 1)


def test_a_fixed_batch_is_refused(tmp_path: Path) -> None:
    with (
        graphs(Case(FixedBatch).build(tiny_backbone("clip")).eval()) as (graph, _),
        pytest.raises(MethodError, match="no graph with a free batch"),
    ):
        write(image_plan(graph), tmp_path / "model.onnx", 18)
    assert not list(tmp_path.iterdir())


def test_another_result_is_refused() -> None:
    with graphs(Case("zero_shot").build(tiny_backbone("clip")).eval()) as (graph, _):
        assert isinstance(graph, ImageGraph)
        plan = image_plan(graph)
        with pytest.raises(MethodError, match="gives other vectors"):
            check(plan, lambda sample: graph(sample).numpy() + 2 * CLOSE)
        with pytest.raises(MethodError, match="does not run at shape"):
            check(plan, lambda sample: graph(sample.reshape(3, 3, 32, 32)).numpy())


def test_methods_without_one_vector_a_text_are_refused() -> None:
    with pytest.raises(MethodError, match="token by token"), graphs(Case("filip").build(tiny_backbone("clip"))):
        pass
    action = next(case for case in CASES if case.found.name == "action")
    enriched = action.build(tiny_backbone("clip"), {**action.options, "text_enrich": "avg"})
    with pytest.raises(MethodError, match="needs knowledge of its texts"), graphs(enriched):
        pass
    assert enriched.encode_text(["a red thing"]).shape == (1, 32), "the tokenizer was put back"
