"""Boxes in an image, their crops, and the features of a map inside them."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import interpolate


def region_boxes(
    image_ids: Sequence[str], *, centre: float, count: int, smallest: float, largest: float, seed: int
) -> Tensor:
    """Returns (B, 1 + count, 4) boxes x0, y0, x1, y1 as shares of the image: one in the middle, the others anywhere.

    A box has the image's shape. The draw depends on the seed and the image's id alone, so an image keeps its boxes.

    Args:
        image_ids: B images.
        centre: side of the first box.
        count: further boxes.
        smallest: least side of a further box.
        largest: greatest side of a further box.
        seed: another seed draws other boxes.
    """
    low, high = (1 - centre) / 2, (1 + centre) / 2
    boxes = []
    for image_id in image_ids:
        chance = random.Random(hashlib.sha256(f"{seed}\x1f{image_id}".encode()).digest())
        boxes.append([(low, low, high, high)])
        for _ in range(count):
            side = chance.uniform(smallest, largest)
            x, y = chance.uniform(0, 1 - side), chance.uniform(0, 1 - side)
            boxes[-1].append((x, y, x + side, y + side))
    return torch.tensor(boxes)


def crops(pixels: Tensor, boxes: Tensor) -> Tensor:
    """(B, 3, S, S) uint8 images and (B, K, 4) boxes -> (B * K, 3, S, S) uint8 crops at the size of the image."""
    size = pixels.shape[-1]
    edges = (boxes * size).round().long().tolist()
    cut = []
    for image, places in zip(pixels, edges, strict=True):
        for left, top, right, bottom in places:
            inside = image[None, :, top : max(bottom, top + 1), left : max(right, left + 1)]
            if inside.shape[-2:] != (size, size):
                scaled = interpolate(inside.float(), (size, size), mode="bicubic", antialias=True)
                inside = scaled.round().clamp(0, 255).to(torch.uint8)
            cut.append(inside)
    return torch.cat(cut)


def roi_align(features: Tensor, boxes: Tensor) -> Tensor:
    """Averages a map of features over boxes: RoIAlign (Mask R-CNN, section 3) with one bin a box and aligned corners.

    The bin is sampled on a regular grid, one point for every begun cell, bilinearly. The average of bilinear samples on a grid
    is separable. So it is a weighted mean of the cells, with the product of one weight by row and one by column.

    Args:
        features: (B, H, W, D).
        boxes: (B, K, 4) x0, y0, x1, y1 as shares of the image.

    Returns:
        (B, K, D).
    """
    rows = axis_weights(boxes[..., 1], boxes[..., 3], features.shape[1])  # (B, K, H)
    columns = axis_weights(boxes[..., 0], boxes[..., 2], features.shape[2])  # (B, K, W)
    return torch.einsum("bkh,bhwd,bkw->bkd", rows, features, columns)


def axis_weights(low: Tensor, high: Tensor, size: int) -> Tensor:
    """Returns (..., size) the weight of every cell for intervals (...,) of the unit line; weights add up to 1."""
    low, high = low * size, high * size  # in cells
    points = (high - low).ceil().clamp(min=1)  # samples of an interval
    index = torch.arange(size, device=low.device)
    at = (
        low[..., None] + (index + 0.5) / points[..., None] * (high - low)[..., None] - 0.5
    )  # (..., samples), in cell centres
    near = (1 - (at.clamp(0, size - 1)[..., None] - index).abs()).clamp(min=0)  # (..., samples, size) bilinear
    used = index < points[..., None]  # (..., samples)
    return (near * used[..., None]).sum(-2) / points[..., None]
