"""Random crops of decoded images, on tensors."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Generator, Tensor

Augmentation = Literal["none", "crop", "coop"]
LEAST_AREA = {"crop": 0.8, "coop": 0.08}


def augment(pixels: Tensor, kind: Augmentation, generator: Generator) -> Tensor:
    """(B, 3, S, S) uint8 -> the same shape, each image cropped at random and scaled back.

    Args:
        pixels: decoded images.
        kind: `none`: no change. `crop`: at least 80 % of the area, never flipped. `coop`: at least 8 %, and half of the
            images are flipped, which destroys attributes and contradicts "left" and "right" in captions.
        generator: source of the randomness; the same state gives the same crops.
    """
    if kind == "none":
        return pixels
    import torch
    from torch.nn.functional import interpolate

    size = pixels.shape[-1]
    out = torch.empty_like(pixels)
    for index, image in enumerate(pixels):
        area, ratio, x, y, flip = torch.rand(5, generator=generator).tolist()
        area = LEAST_AREA[kind] + (1 - LEAST_AREA[kind]) * area
        ratio = math.exp((2 * ratio - 1) * math.log(4 / 3))
        width = min(round(size * math.sqrt(area * ratio)), size)
        height = min(round(size * math.sqrt(area / ratio)), size)
        left, top = round(x * (size - width)), round(y * (size - height))
        crop = image[None, :, top : top + height, left : left + width].float()
        scaled = interpolate(crop, (size, size), mode="bicubic", antialias=True).round().clamp(0, 255)
        if kind == "coop" and flip < 0.5:
            scaled = scaled.flip(-1)
        out[index] = scaled[0].to(torch.uint8)
    return out
