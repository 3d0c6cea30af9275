"""Methods that leave a tower untouched run it once: same result, and no call of the tower from the second epoch on."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import crosscue
from crosscue.backbones.clip_towers import ClipImageTower, ClipTextTower
from crosscue.backbones.frozen import FrozenFeatures, pixel_store
from crosscue.backbones.loading import load_backbone
from crosscue.errors import MethodError
from crosscue.evaluation.result import Retrieval
from crosscue.methods.contract import ImageUse
from crosscue.methods.coop import Coop
from crosscue.methods.parts.frozen_towers import FrozenTowersMethod
from crosscue.methods.registry import build
from crosscue.retrieval.scores import Cosines
from tests import tiny
from tests.training.runs import adapt, config, learned

METHODS = {
    "linear_probe": {},
    "clip_adapter": {"adapters": "both"},
    "coop": {"context_tokens": 4},
}


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts of the runs of each tower."""
    counted: Counter[str] = Counter()

    def counting(name: str, whole: Any) -> Any:
        def call(self: Any, *arguments: Any) -> Any:
            counted[name] += 1
            return whole(self, *arguments)

        return call

    for name, tower, function in (
        ("image", ClipImageTower, "forward"),
        ("image", ClipImageTower, "state"),
        ("text", ClipTextTower, "forward"),
    ):
        monkeypatch.setattr(tower, function, counting(name, getattr(tower, function)))
    return counted


@pytest.mark.parametrize("name", METHODS)
def test_frozen_towers_do_not_run_after_the_first_epoch(
    name: str,
    folder: Path,
    calls: Counter[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Validation, which follows every epoch, included."""
    needed = {}
    for epochs in (1, 4):
        monkeypatch.setenv("CROSSCUE_CACHE", str(tmp_path_factory.mktemp("fresh")))
        calls.clear()
        adapt(folder, f"{epochs}", method=name, options=METHODS[name], training=config(epochs=epochs))
        needed[epochs] = dict(calls)
    assert needed[4]["image"] == needed[1]["image"] > 0
    if name == "coop":
        assert needed[4]["text"] > needed[1]["text"]
    else:
        assert needed[4]["text"] == needed[1]["text"] > 0


@pytest.mark.parametrize("name", METHODS)
def test_cached_features_give_the_same_run(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    adapt(folder, "cached", method=name, options=METHODS[name])
    for kind in (Coop, FrozenTowersMethod):
        monkeypatch.setattr(kind, "image_use", ImageUse())
    monkeypatch.setattr(FrozenTowersMethod, "remember", lambda self, texts: None)
    adapt(folder, "recomputed", method=name, options=METHODS[name])
    first, second = learned(folder / "cached"), learned(folder / "recomputed")
    assert first.keys() == second.keys()
    for tensor in first:
        torch.testing.assert_close(first[tensor], second[tensor], rtol=0, atol=1e-5)


@pytest.mark.parametrize("family", sorted(tiny.tiny_backbones))
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_cached_features_equal_the_tower(family: str, precision: str, folder: Path) -> None:
    backbone = tiny.tiny_backbones[family](precision=precision)
    pixels = pixel_store(crosscue.read_pairs(folder).images, backbone)
    rows = list(range(3, 11))
    cached = FrozenFeatures(backbone, pixels)[rows]
    expected = backbone.encode_image(pixels[rows])
    for own, direct in ((cached.pooled, expected.pooled), (cached.hidden, expected.hidden)):
        torch.testing.assert_close(own, direct, rtol=0, atol=1e-5 if precision == "fp32" else 5e-2)
    assert backbone.encode_image(cached) is cached
    assert len(cached.to("cpu")) == 8
    with pytest.raises(MethodError, match="image_use must not be"):
        _ = cached.patches
    with pytest.raises(ValueError, match="prompts enter at layer 0, the cached features are the output"):
        build("dual_prompt", backbone).image_features(cached)


def test_a_remembered_caption_is_forgotten_when_training_ends(folder: Path) -> None:
    """A run and the loaded run then encode a training caption equally, to the bit."""
    run = adapt(folder, "run", method="linear_probe")
    captions = [f"a {colour} thing {number}" for number, colour in enumerate(["red", "green", "blue"])]
    loaded = crosscue.load(folder / "run", precision="fp32")
    assert torch.equal(run.encode_text(captions), loaded.encode_text(captions))


def embeddings(result: Retrieval) -> tuple[Tensor, Tensor]:
    assert isinstance(result.scores, Cosines)
    return result.scores.images, result.scores.texts


@pytest.mark.parametrize("name", [*METHODS, "maple", "lora", "full_ft"])
def test_before_is_the_untouched_backbone_whatever_was_learned(name: str, folder: Path) -> None:
    options = METHODS.get(name, {"depth": 2} if name == "maple" else {})
    run = adapt(folder, "run", method=name, options=options, training=config(epochs=2, lr=0.01), validation=False)
    pairs = crosscue.read_pairs(folder).split("test")
    comparison = crosscue.api.before_and_after(run, pairs)
    untouched = load_backbone(str(tiny.clip_folder()), precision="fp32")
    before = crosscue.evaluate("zero_shot", pairs, untouched)
    for own, expected in zip(embeddings(comparison.before), embeddings(before), strict=True):
        torch.testing.assert_close(own, expected, rtol=0, atol=1e-5)
    moved = [
        not torch.allclose(after, start, atol=1e-5)
        for after, start in zip(embeddings(comparison.after), embeddings(comparison.before), strict=True)
    ]
    assert any(moved)
    loaded = crosscue.load(folder / "run", precision="fp32")
    for own, expected in zip(embeddings(loaded.evaluate(folder)), embeddings(run.evaluate(folder)), strict=True):
        assert torch.equal(own, expected)


def test_cached_features_depend_on_nothing_but_their_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from crosscue.data.pairs import ImageFile
    from tests.images import draw_noise

    images = [ImageFile(draw_noise(tmp_path / f"{seed}.png", seed)) for seed in range(35)]
    backbone = load_backbone(str(tiny.clip_folder()), precision="bf16", device="cpu")

    def features(chosen: list[ImageFile], cache: str) -> Tensor:
        monkeypatch.setenv("CROSSCUE_CACHE", str(tmp_path / cache))
        rows = FrozenFeatures(backbone, pixel_store(chosen, backbone))
        return rows[range(len(chosen))].pooled

    whole = features(images, "whole")
    assert torch.equal(features(images[33:], "end"), whole[33:])  # another cache, another list, another length
    monkeypatch.setattr(backbone, "pixels", replace(backbone.pixels, mean=(0.1, 0.2, 0.3)))
    assert not torch.equal(features(images[:1], "whole"), whole[:1])  # another normalisation is another computation
