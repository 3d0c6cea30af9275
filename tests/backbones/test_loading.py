"""From a name to a backbone: the Hub's cache, local folders, and everything that can be wrong with them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from crosscue.backbones.loading import load_backbone
from crosscue.errors import BackboneError, NetworkError
from tests import tiny

REVISION = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The Hub's cache with one checkpoint in it, and no network."""
    from huggingface_hub import constants

    repository = tmp_path / "models--org--tiny-clip"
    snapshot = repository / "snapshots" / REVISION
    shutil.copytree(tiny.clip_folder(), snapshot)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(REVISION)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return snapshot


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny.clip_folder(), tmp_path / "copy"))


@pytest.mark.parametrize("name", ["org/tiny-clip", f"org/tiny-clip@{REVISION}"])
def test_a_hub_id_is_found_in_the_cache_without_a_network(hub: Path, name: str) -> None:
    backbone = load_backbone(name, device="cpu")
    assert backbone.source == name
    assert backbone.revision == REVISION
    assert backbone.checkpoint == load_backbone(str(tiny.clip_folder()), device="cpu").checkpoint


def test_an_unknown_hub_id_without_a_network_says_what_to_do(hub: Path) -> None:
    with pytest.raises(NetworkError, match=r"org/other.*not in the local Hub cache.*local folder"):
        load_backbone("org/other")


def test_a_name_that_is_nothing_suggests_the_nearest() -> None:
    with pytest.raises(BackboneError, match=r"no backbone 'statrer'. Did you mean 'starter'"):
        load_backbone("statrer")


def test_missing_and_damaged_files_are_named(copy: Path) -> None:
    weights = copy / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BackboneError, match=r"copy: cannot be loaded as CLIPModel .*Fetch the checkpoint again"):
        load_backbone(str(copy))
    weights.unlink()
    with pytest.raises(BackboneError, match="cannot be loaded as CLIPModel"):
        load_backbone(str(copy))
    (copy / "config.json").write_text("{")
    with pytest.raises(BackboneError, match=r"config.json line 1: not valid JSON"):
        load_backbone(str(copy))
    (copy / "config.json").unlink()
    with pytest.raises(BackboneError, match=r"no config.json"):
        load_backbone(str(copy))


def test_an_unsupported_family_lists_the_supported(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"model_type": "bert"}))
    with pytest.raises(BackboneError, match=r"'bert' is not supported. Supported: clip, siglip, siglip2, dual"):
        load_backbone(str(copy))


def test_the_pixel_values_come_with_the_checkpoint(copy: Path) -> None:
    preprocessor = json.loads((copy / "preprocessor_config.json").read_text())
    (copy / "preprocessor_config.json").write_text(json.dumps(preprocessor | {"image_mean": [0.5, 0.5, 0.5]}))
    assert load_backbone(str(copy)).pixels.mean == (0.5, 0.5, 0.5)


def test_the_number_format_changes_the_towers_and_not_the_identity() -> None:
    full, half = (load_backbone(str(tiny.clip_folder()), precision=name) for name in ("fp32", "bf16"))
    assert full.checkpoint == half.checkpoint
    assert full.fingerprint() != half.fingerprint()
    texts = half.tokenize(["a red thing"])
    with torch.no_grad():
        assert half.encode_text(texts).pooled.dtype == torch.float32
        torch.testing.assert_close(half.encode_text(texts).pooled, full.encode_text(texts).pooled, rtol=0.05, atol=0.05)
    with pytest.raises(BackboneError, match=r"no precision 'fp61'"):
        load_backbone(str(tiny.clip_folder()), precision="fp61")
