"""The start of dual prompts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from crosscue.backbones.frozen import pixel_store
from crosscue.data.sources import read_pairs
from crosscue.methods import dual_prompt
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


@pytest.mark.parametrize("name", ["dual_prompt", "dcar", "maple"])
@torch.no_grad()
def test_the_mean_patch_is_of_images_spread_over_the_training_pairs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every method on dual prompts has the option. The first images of a source are often those of one category."""
    monkeypatch.setattr(dual_prompt, "IMAGES_OF_START", 2)
    pairs, backbone = read_pairs(write_source(tmp_path)), tiny_backbones["clip"]()
    options = {"depth": 1, "context_tokens": 2, "image_start": "mean_patch"} | ({"ca": False} if name == "dcar" else {})
    method = build(name, backbone, options)
    method.study(pairs, pairs.captions)
    pixels = pixel_store(pairs.images, backbone)[[0, len(pairs) // 2]]
    mean = backbone.image_state(pixels, 0).tokens[:, -backbone.patch_count :].float().mean((0, 1))
    torch.testing.assert_close(method.prompts.coupling[0].bias, mean, rtol=1e-4, atol=1e-5)
