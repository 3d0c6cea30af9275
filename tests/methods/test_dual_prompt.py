"""The start of dual prompts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from crosscue.backbones.frozen import pixel_store
from crosscue.data.sources import read_pairs
from crosscue.methods.dual_prompt import DualPrompt
from crosscue.methods.registry import build
from tests.images import write_source
from tests.tiny import tiny_backbones


@pytest.mark.parametrize("family", sorted(tiny_backbones))
@torch.no_grad()
def test_image_prompts_may_start_at_the_mean_patch(family: str, tmp_path: Path) -> None:
    pairs, backbone = read_pairs(write_source(tmp_path)), tiny_backbones[family]()
    pixels = pixel_store(pairs.images, backbone)[range(len(pairs))]
    options: dict[str, Any] = {"context_tokens": 3, "depth": 2, "image_start_layer": 1}
    start, drawn = (
        build("dual_prompt", backbone, options | {"image_start": kind}) for kind in ("mean_patch", "projected")
    )
    assert isinstance(start, DualPrompt)
    for method in (start, drawn):
        method.load_learned_state({name: tensor.clone() for name, tensor in drawn.learned_state().items()})
        method.study(pairs, pairs.captions)
    prompts = start.prompts.image_prompts()
    assert prompts is not None
    for layer in (1, 2):
        tokens = backbone.image_state(pixels, layer).tokens
        patches = tokens if backbone.family.startswith("siglip") else tokens[:, 1:]
        own = drawn.prompts.coupling[layer - 1]
        expected = start.prompts.context[layer - 1] @ own.weight.T + patches.mean((0, 1))
        torch.testing.assert_close(prompts.layers[layer], expected, rtol=1e-4, atol=1e-5)
