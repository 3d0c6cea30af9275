"""FineCLIP: RoIAlign against a loop, regions that are the image, and the two defects that can be switched on."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from crosscue.errors import MethodError
from crosscue.methods.fineclip import FineClip, FineClipConfig
from crosscue.methods.parts.regions import axis_weights, crops, region_boxes, roi_align
from crosscue.testing import eight_pairs
from tests.methods.formulas import both_ways, pair_cross_entropies, shared
from tests.tiny import tiny_backbones


def fineclip(**options: object) -> FineClip:
    torch.manual_seed(0)
    return FineClip(tiny_backbones["clip"](), FineClipConfig(context_tokens=2, **options))


def by_hand(features: Tensor, box: Tensor) -> Tensor:
    """(H, W, D) and one box -> (D,): sample points one by one, each bilinear."""
    height, width, _ = features.shape
    x0, y0, x1, y1 = (box * torch.tensor([width, height, width, height])).tolist()
    across, down = max(math.ceil(x1 - x0), 1), max(math.ceil(y1 - y0), 1)
    total = torch.zeros(features.shape[2], dtype=features.dtype)
    for i in range(down):
        for j in range(across):
            y = min(max(y0 + (i + 0.5) / down * (y1 - y0) - 0.5, 0), height - 1)
            x = min(max(x0 + (j + 0.5) / across * (x1 - x0) - 0.5, 0), width - 1)
            top, left = math.floor(y), math.floor(x)
            bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
            dy, dx = y - top, x - left
            upper = (1 - dx) * features[top, left] + dx * features[top, right]
            lower = (1 - dx) * features[bottom, left] + dx * features[bottom, right]
            total += (1 - dy) * upper + dy * lower
    return total / (across * down)


def test_roi_align_equals_the_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(3, 7, 5, 4, generator=generator, dtype=torch.float64)
    low = torch.rand(3, 6, 2, generator=generator, dtype=torch.float64) * 0.6
    boxes = torch.cat([low, low + 0.05 + 0.35 * torch.rand(3, 6, 2, generator=generator, dtype=torch.float64)], dim=2)
    found = roi_align(features, boxes)
    for image in range(3):
        for place in range(6):
            torch.testing.assert_close(found[image, place], by_hand(features[image], boxes[image, place]))


def test_the_whole_image_is_the_mean_and_weights_add_up_to_one() -> None:
    features = torch.randn(1, 4, 4, 3)
    whole = roi_align(features, torch.tensor([[[0.0, 0.0, 1.0, 1.0]]]))
    torch.testing.assert_close(whole[0, 0], features[0].mean((0, 1)))
    low = torch.rand(50) * 0.5
    torch.testing.assert_close(axis_weights(low, low + 0.4, 7).sum(-1), torch.ones(50))


def test_boxes_are_inside_and_a_function_of_seed_and_image() -> None:
    def drawn(ids: list[str], seed: int = 1) -> Tensor:
        return region_boxes(ids, centre=0.8, count=4, smallest=0.3, largest=0.8, seed=seed)

    boxes = drawn(["a", "b", "c"])
    assert boxes.shape == (3, 5, 4)
    torch.testing.assert_close(boxes[:, 0], torch.tensor([0.1, 0.1, 0.9, 0.9]).expand(3, 4))
    assert boxes.min() >= 0
    assert boxes.max() <= 1
    sides = boxes[:, 1:, 2] - boxes[:, 1:, 0]
    assert sides.min() >= 0.3 - 1e-6
    assert sides.max() <= 0.8 + 1e-6
    torch.testing.assert_close(boxes[..., 3] - boxes[..., 1], boxes[..., 2] - boxes[..., 0])
    assert boxes[:, 1:, :2].std() > 0.05, "boxes are in many places"
    assert torch.equal(drawn(["c", "a"]), boxes[[2, 0]])
    assert not torch.equal(drawn(["a"], seed=2), boxes[:1])


def test_a_crop_of_everything_is_the_image_and_others_are_inside() -> None:
    pixels = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    everything = torch.tensor([[0.0, 0.0, 1.0, 1.0]]).expand(2, 1, 4)
    assert torch.equal(crops(pixels, everything), pixels)
    halves = torch.zeros(1, 3, 16, 16, dtype=torch.uint8)
    halves[..., 8:] = 200
    left, right = crops(halves, torch.tensor([[[0.0, 0.0, 0.5, 1.0], [0.5, 0.0, 1.0, 1.0]]]))
    assert left.max() == 0
    assert right.min() == 200


def test_distillation_vanishes_where_region_and_crop_are_the_same_feature() -> None:
    method = fineclip(boxes=0, centre_side=1.0)
    batch = eight_pairs(method.backbone)
    pooled = normalize(method.image_features(batch.images), dim=-1)  # (B, D)
    everywhere = pooled[:, None, None].expand(-1, 4, 4, -1)  # a dense map that says the same everywhere
    boxes = method.boxes(batch)
    regions = normalize(roi_align(everywhere, boxes), dim=-1)
    assert method.distil_loss(regions, batch.images, boxes).item() == pytest.approx(0, abs=1e-6)
    assert method.losses(batch)["distil_loss"].item() > 0.01


def test_region_loss_sees_texts_only_and_padding_dilutes_it() -> None:
    method = fineclip(boxes=3)
    batch, scale = eight_pairs(method.backbone), method.backbone.logit_scale
    generator = torch.Generator().manual_seed(0)
    regions = normalize(torch.randn(8, 4, 32, generator=generator), dim=-1)
    texts = normalize(torch.randn(8, 32, generator=generator), dim=-1)
    named = [f"a photo of a {name}" for name in batch.categories if name]
    logits, target = scale * regions[:, 0] @ texts.T, torch.arange(8)
    right = (cross_entropy(logits, target) + cross_entropy(logits.T, target)) / 2
    torch.testing.assert_close(method.region_loss(regions, texts, named, batch), right)
    torch.testing.assert_close(method.region_loss(regions[:, :1], texts, named, batch), right)  # boxes without text
    method.config = dataclasses.replace(method.config, pad_bug=True)
    diluted = method.region_loss(regions, texts, named, batch)
    padded = torch.zeros(32, 32)
    padded[:8, :8] = logits
    rows = [cross_entropy(way, torch.arange(32), reduction="none") for way in (padded, padded.T)]
    torch.testing.assert_close(diluted, torch.stack(rows).mean())
    assert torch.allclose(rows[0][8:], torch.tensor(32.0).log()), "a row of zeros is a tie whatever is learned"


def test_the_teacher_has_gradients_only_when_switched_on() -> None:
    for teacher_grad in (False, True):
        method = fineclip(boxes=1, teacher_grad=teacher_grad)
        batch = eight_pairs(method.backbone)
        boxes = method.boxes(batch)
        regions = normalize(torch.randn(8, 2, 32), dim=-1)
        assert method.distil_loss(regions, batch.images, boxes).requires_grad == teacher_grad


def test_what_it_needs_is_said() -> None:
    method = fineclip()
    batch = dataclasses.replace(eight_pairs(method.backbone), categories=[None] * 8)
    with pytest.raises(MethodError, match="'fineclip' needs the category of every image"):
        method.losses(batch)
    assert "region_loss" not in fineclip(region_weight=0.0).losses(batch)
    state = method.backbone.image_state(batch.images, 1)
    with pytest.raises(MethodError, match="cuts regions out of pixels"):
        method.losses(dataclasses.replace(batch, images=state))
    with pytest.raises(MethodError, match="needs a dense map"):
        FineClip(tiny_backbones["siglip"](), FineClipConfig())
    with pytest.raises(MethodError, match="impossible boxes"):
        FineClipConfig(smallest_side=0.9, largest_side=0.8)


def test_the_whole_loss_by_the_formula() -> None:
    """Global, region and distillation loss with weights 1, 0.7 and 0.3, region by region; two images share a class."""
    backbone = tiny_backbones["clip"]()
    options = {"region_weight": 0.7, "distil_weight": 0.3, "centre_side": 0.6, "boxes": 2, "carrier": "heads_only"}
    options |= {"smallest_side": 0.15, "largest_side": 0.45, "box_seed": 7}
    torch.manual_seed(4)
    method = FineClip(backbone, FineClipConfig(**options))
    for head in (method.image_head, method.text_head):
        torch.nn.init.normal_(head.weight)  # cosines of both signs
    batch = eight_pairs(backbone)
    captions = [*batch.captions[:7], batch.captions[2]]
    classes = ["red", "green", "blue", "red", "black", "yellow", "grey", "pink"]
    batch = dataclasses.replace(batch, captions=captions, categories=classes)
    ids, scale = list(batch.image_ids), backbone.logit_scale
    images, texts = method.encode_image(batch.images), method.encode_text(captions)
    named = [f"a photo of a {name}" for name in classes]
    of_classes = torch.cat([method.encode_text([text]) for text in named])
    dense = (method.read_images(batch.images).dense @ method.image_head.weight.T).unflatten(1, (4, 4))
    boxes = region_boxes(ids, centre=0.6, count=2, smallest=0.15, largest=0.45, seed=7)
    regions = torch.stack([torch.stack([by_hand(dense[i], box) for box in boxes[i]]) for i in range(8)])  # (8, 3, D)
    with torch.no_grad():
        cut = torch.stack([method.encode_image(crops(batch.images[i : i + 1], boxes[i : i + 1])) for i in range(8)])
    middle = normalize(regions[:, 0], dim=-1)
    logits = scale * images @ texts.T
    assert logits.min() < 0 < logits.max()
    wanted = {
        "global_loss": both_ways(logits, shared(captions, ids)).mean(),
        "region_loss": 0.7 * both_ways(scale * middle @ of_classes.T, shared(named, ids)).mean(),
        "distil_loss": 0.3 * (1 - torch.cosine_similarity(regions, cut, dim=-1).mean()),
    }
    found = method.losses(batch)
    assert found.keys() == wanted.keys()
    heads = [method.image_head.weight, method.text_head.weight]
    for key, value in wanted.items():
        torch.testing.assert_close(found[key], value, rtol=1e-4, atol=1e-5)
    right = torch.autograd.grad(sum(wanted.values()), heads)
    for gradient, value in zip(torch.autograd.grad(sum(found.values()), heads), right, strict=True):
        torch.testing.assert_close(gradient, value, rtol=1e-3, atol=1e-3 * float(value.abs().max()))
    method.config = dataclasses.replace(method.config, directions="i2t")
    only = cross_entropy(logits.masked_fill(shared(captions, ids), -torch.inf), torch.arange(8))
    of_regions = pair_cross_entropies(scale * middle @ of_classes.T, shared(named, ids)).mean()
    one_way = method.losses(batch)
    torch.testing.assert_close(one_way["global_loss"], only, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(one_way["region_loss"], 0.7 * of_regions, rtol=1e-4, atol=1e-5)
