"""The bridge: what it computes, and that a file of it comes back as it was."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from crosscue.backbones.bridge import Bridge
from crosscue.errors import BackboneError


@pytest.fixture
def bridge() -> Bridge:
    torch.manual_seed(0)
    bridge = Bridge(text_width=12, embed_dim=8, hidden=16)
    with torch.no_grad():
        bridge.image_mean.normal_()
        bridge.log_scale.fill_(3.5)
    return bridge


def test_a_saved_bridge_comes_back_exactly(bridge: Bridge, tmp_path: Path) -> None:
    bridge.save(tmp_path / "bridge.safetensors")
    again = Bridge.load(tmp_path / "bridge.safetensors")
    assert again.size == {"text_width": 12, "embed_dim": 8, "hidden": 16}
    assert again.state_dict().keys() == bridge.state_dict().keys()
    for name, tensor in bridge.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name


def test_the_image_side_is_blind_to_the_norm_and_centres(bridge: Bridge) -> None:
    pooled = torch.randn(5, 8)
    assert torch.allclose(bridge.image(pooled), bridge.image(7 * pooled), atol=1e-6)
    assert torch.allclose((bridge.image(pooled) + bridge.image_mean).norm(dim=-1), torch.ones(5))


def test_tokens_are_mapped_one_by_one(bridge: Bridge) -> None:
    tokens = torch.randn(2, 3, 12)
    mapped = bridge.text(tokens)
    assert mapped.shape == (2, 3, 8)
    assert torch.allclose(mapped[1, 2], bridge.text(tokens[1, 2]), atol=1e-6)


def test_a_damaged_file_is_named(bridge: Bridge, tmp_path: Path) -> None:
    path = tmp_path / "bridge.safetensors"
    bridge.save(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(BackboneError, match=r"bridge\.safetensors: not a bridge"):
        Bridge.load(path)
    with pytest.raises(BackboneError, match="not a bridge"):
        Bridge.load(tmp_path / "absent.safetensors")
