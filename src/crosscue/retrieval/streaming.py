"""Image vectors of any number of images, one batch at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from crosscue.data.stream import Given, Unreadable, pixel_batches

if TYPE_CHECKING:
    from crosscue.methods.contract import Method


@dataclass(frozen=True)
class EncodedBatch:
    """The vectors of the readable images among a batch of consecutive ones, and the others."""

    indices: list[int]
    """Places of the readable images in the iterable."""
    vectors: Tensor
    """(B, D) unit vectors on the CPU; B may be 0."""
    unreadable: list[Unreadable]


def encoded_images(method: Method[Any], images: Iterable[Given], batch_size: int = 32) -> Iterator[EncodedBatch]:
    """Yields image vectors in the order of the images; memory holds two batches of pixels, whatever their number."""
    backbone = method.backbone
    for batch in pixel_batches(images, backbone.pixels, batch_size):
        vectors = torch.empty(0, backbone.embed_dim)
        if batch.indices:
            with torch.no_grad():
                vectors = method.encode_image(torch.from_numpy(batch.pixels).to(backbone.device)).cpu()
        yield EncodedBatch(batch.indices, vectors, batch.unreadable)
