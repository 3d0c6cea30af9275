"""A run reads texts as it was evaluated, and with the knowledge it was trained with."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from crosscue.errors import DataError
from crosscue.explaining.places import explained
from crosscue.knowledge.actions.record import ActionKnowledge, CaptionKnowledge, Triplet
from crosscue.methods.registry import build
from crosscue.retrieval.encoding import embed_captions
from crosscue.retrieval.options import Inference
from crosscue.run import Run
from tests.tiny import tiny_backbones


def test_other_knowledge_is_refused_every_time(tmp_path: Path) -> None:
    def known(state: str) -> None:
        one = CaptionKnowledge((Triplet("thing", "is", "red", "attribute"),), (state,), "t")
        ActionKnowledge({"a red thing": one}).save(tmp_path / "k.jsonl")

    options = {"knowledge": str(tmp_path / "k.jsonl"), "aim_layer": 1, "deep_start": 2, "visual_prompts": 2}
    known("one")
    first = build("action", tiny_backbones["clip"](), options)
    first.require(["a red thing"])
    state = {name: tensor.clone() for name, tensor in first.learned_state().items()}
    known("two")
    again = build("action", tiny_backbones["clip"](), options)
    again.load_learned_state(state)
    for _ in range(2):
        with pytest.raises(DataError, match="not the knowledge the run was trained with"):
            again.require(["a red thing"])
    assert torch.equal(again.extra_state()["knowledge"], state["knowledge"])


def test_a_run_encodes_texts_in_the_mode_that_evaluation_ranks_by() -> None:
    torch.manual_seed(0)
    options = {"context_tokens": 2, "category_width": 16, "category_in_contrast": True, "category_head": "plain_relu"}
    method, texts = build("dcar", tiny_backbones["clip"](), options).eval(), ["a red thing", "green"]
    expected = embed_captions(method, texts, Inference())
    torch.testing.assert_close(Run(method).encode_text(texts), expected)
    side = method.backbone.pixels.size
    pixels = torch.randint(0, 256, (3, side, side), dtype=torch.uint8)
    with torch.no_grad():
        image = method.encode_image(pixels[None])[0]
    assert explained(method, pixels, texts[0]).score == pytest.approx(float(image @ expected[0]), abs=1e-5)
