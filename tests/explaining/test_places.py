"""Direct effects of attention: exact against transformers' own attention, and right on collages with the starter."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from crosscue.backbones.tracing import traced
from crosscue.data.images import open_image
from crosscue.data.pairs import ImageFile
from crosscue.data.pixels import square
from crosscue.explaining.places import explained
from crosscue.methods.registry import build
from crosscue.testing.backbones import tiny_backbone

TEXT = "a red dog on the thing"


def image(seed: int = 3) -> torch.Tensor:
    return torch.randint(0, 256, (3, 32, 32), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def method_of(family: str, name: str = "zero_shot", **options: Any) -> Any:
    torch.manual_seed(5)
    method = build(name, tiny_backbone(family), options)
    return method.eval()


@pytest.mark.parametrize("family", ["clip", "dual"])
def test_effects_are_those_of_values_taken_away_from_transformers_attention(family: str) -> None:
    method = method_of(family, "dual_prompt", context_tokens=2, depth=2)
    layers = method.backbone.image.vision_model.encoder.layers
    normed: list[torch.Tensor] = []
    hooks = [
        layer.layer_norm1.register_forward_hook(lambda m, i, o: normed.append(o.detach())) for layer in layers[-2:]
    ]
    with traced(method.backbone, 2) as trace:
        score = method.encode_image(image()[None])[0] @ method.encode_text([TEXT])[0].detach()
        gradient = torch.autograd.grad(score, trace.token)[0][0]
    for hook in hooks:
        hook.remove()
    for layer, seen, read in zip(layers[-2:], normed, trace.reads, strict=True):
        added = read(gradient)
        assert len(added) == seen.shape[1] and added.abs().max() > 0
        for position in (0, 1, 7, seen.shape[1] - 1):

            def without(module: Any, inputs: Any, value: torch.Tensor, position: int = position) -> torch.Tensor:
                return value.index_fill(1, torch.tensor([position]), 0.0)

            whole = layer.self_attn(seen, attention_mask=None)[0][0, 0]
            hook = layer.self_attn.v_proj.register_forward_hook(without)
            less = layer.self_attn(seen, attention_mask=None)[0][0, 0]
            hook.remove()
            assert added[position].item() == pytest.approx(((whole - less) @ gradient).item(), abs=1e-6)


def test_siglip_is_read_by_its_pooling_head() -> None:
    method = method_of("siglip")
    head = method.backbone.image.vision_model.head
    kept: list[Any] = []
    hook = head.attention.register_forward_hook(lambda m, i, o: kept.append((i, o)))
    with traced(method.backbone, 4) as trace:
        score = method.encode_image(image()[None])[0] @ method.encode_text([TEXT])[0].detach()
        gradient = torch.autograd.grad(score, trace.token)[0][0]
    hook.remove()
    (probe, patches, _), _ = kept[0]
    added = trace.reads[0](gradient)
    bias = head.attention(probe, patches * 0, patches * 0)[0]
    assert added.sum().item() == pytest.approx(
        ((head.attention(probe, patches, patches)[0] - bias)[0, 0] @ gradient).item(), abs=1e-5
    )


@pytest.mark.parametrize(
    ("family", "name", "options"),
    [
        ("clip", "zero_shot", {}),
        ("dual", "maple", {"depth": 2}),
        ("clip", "clip_adapter", {}),
        ("dual", "linear_probe", {}),
        ("siglip", "dual_prompt", {"context_tokens": 2}),
    ],
)
def test_an_explanation_has_the_score_of_the_encoders_and_a_place_for_each_patch(
    family: str, name: str, options: dict[str, Any]
) -> None:
    method = method_of(family, name, **options)
    found = explained(method, image(), TEXT)
    with torch.no_grad():
        pixels = image()[None]
        scores = method.encode_text([TEXT, "a dog on the thing"]) @ method.encode_image(pixels)[0]
    assert found.kind == "direct" and found.places.shape == (4, 4)
    assert found.score == pytest.approx(scores[0].item(), abs=1e-5)
    assert found.share == pytest.approx(found.places.sum(), abs=1e-6)
    assert dict(found.words)["red"] == pytest.approx((scores[0] - scores[1]).item(), abs=1e-5)
    assert [word for word, _ in found.words] == TEXT.split()


def test_prompts_have_a_part_of_their_own() -> None:
    assert explained(method_of("clip"), image(), TEXT).prompts == 0
    assert explained(method_of("clip", "dual_prompt", context_tokens=3), image(), TEXT).prompts != 0
    late = explained(method_of("clip", "dual_prompt", context_tokens=3, image_start_layer=2), image(), TEXT)
    assert late.prompts != 0 and late.places.shape == (4, 4)


@pytest.mark.starter
@pytest.mark.shared
@pytest.mark.slow
def test_the_right_quarter_of_a_collage_is_found_and_its_places_matter() -> None:
    folder = Path(os.environ.get("CROSSCUE_SHARED", "../shared/data")) / "flickr8k"
    if not folder.exists():
        pytest.skip(f"{folder} is not there: set CROSSCUE_SHARED to the development data")
    from crosscue.api import as_run

    method = as_run("zero_shot", precision="fp32", image_size=128).method
    size = method.backbone.pixels.size
    right, fell, fell_randomly = [], [], []
    draw = np.random.default_rng(7)
    pairs = examples(folder, 24)
    for number in range(24):
        chosen = [pairs[(number + 6 * step) % 24] for step in range(4)]
        place = number % 4
        chosen[0], chosen[place] = chosen[place], chosen[0]
        text = chosen[place][1]
        quarters = [square(open_image(ImageFile(path)), size // 2) for path, _ in chosen]
        pixels = np.concatenate([np.concatenate(quarters[:2], 2), np.concatenate(quarters[2:], 2)], 1)
        found = explained(method, torch.from_numpy(pixels), text)
        side = found.places.shape[0] // 2
        sums = found.places.reshape(2, side, 2, side).sum((1, 3)).ravel()
        right.append(sums.argmax() == place)
        order = found.places.ravel().argsort()[::-1]
        fifth = len(order) // 5
        fell.append(found.score - without(method, pixels, order[:fifth], text))
        fell_randomly.append(found.score - without(method, pixels, draw.permutation(order)[:fifth], text))
    assert np.mean(right) >= 0.85
    differences = np.array(fell) - np.array(fell_randomly)
    assert differences.mean() / (differences.std(ddof=1) / len(differences) ** 0.5) > 3


def examples(folder: Path, count: int) -> list[tuple[Path, str]]:
    """Return images with a caption."""
    rows = json.loads((folder / "captions.json").read_text())
    known = [(folder / row["image"], row["captions"][0]) for row in rows if row["pixels"]]
    return [(path, caption) for path, caption in known if path.exists()][:count]


def without(method: Any, pixels: np.ndarray, patches: np.ndarray, text: str) -> float:
    """Return the score when some patches are grey."""
    copy = torch.from_numpy(pixels.copy())
    size = method.backbone.image.patch_size
    side = copy.shape[1] // size
    for patch in patches.tolist():
        row, column = divmod(patch, side)
        copy[:, row * size : (row + 1) * size, column * size : (column + 1) * size] = 122
    with torch.no_grad():
        return (method.encode_image(copy[None])[0] @ method.encode_text([text])[0]).item()
