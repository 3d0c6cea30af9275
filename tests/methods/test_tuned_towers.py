"""A tuned copy is the backbone at first, learns in every layer, and leaves the original alone."""

from __future__ import annotations

import pytest
import torch

from crosscue.methods.parts.tuned_towers import is_tuned, tuned_copy
from tests.tiny import SIZE, tiny_backbones


@pytest.mark.parametrize("family", sorted(tiny_backbones))
def test_every_weight_of_the_copy_learns_and_the_original_stays(family: str) -> None:
    backbone = tiny_backbones[family]()
    backbone.requires_grad_(False)
    fingerprint = backbone.fingerprint()
    copy = tuned_copy(backbone)
    pixels = torch.randint(0, 256, (2, 3, SIZE, SIZE), dtype=torch.uint8)
    tokens = backbone.tokenize(["a red thing", "two blue things"])
    images, texts = copy.encode_image(pixels), copy.encode_text(tokens)
    torch.testing.assert_close(images.pooled, backbone.encode_image(pixels).pooled)
    torch.testing.assert_close(texts.pooled, backbone.encode_text(tokens).pooled)
    (images.pooled.square().sum() + texts.pooled.square().sum()).backward()
    for name, parameter in copy.named_parameters():
        assert (parameter.grad is not None) == is_tuned(name), name
    before = images.pooled.detach()
    torch.optim.SGD([p for p in copy.parameters() if p.requires_grad], lr=0.1).step()
    assert not torch.equal(copy.encode_image(pixels).pooled, before)
    torch.testing.assert_close(backbone.encode_image(pixels).pooled, before)
    assert backbone.fingerprint() == fingerprint
