"""Embeddings of a gallery and of its captions, each encoded without the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from crosscue.backbones.embedding import embed_texts, shares_beginnings
from crosscue.backbones.protocol import ImageInput
from crosscue.methods.capabilities import ScoresPairs
from crosscue.methods.registry import build
from crosscue.progress import progress
from crosscue.retrieval.options import Inference

if TYPE_CHECKING:
    from crosscue.backbones.frozen import Images
    from crosscue.backbones.protocol import Backbone
    from crosscue.methods.contract import Method


def embed_captions(method: Method[Any], texts: Sequence[str], inference: Inference) -> Tensor:
    """Returns (M, D) unit vectors of captions alone, in the text mode of `inference`."""
    mode = inference.of(method).mode
    assert mode is not None
    return embed_texts(
        texts, lambda some: method.encode_text(some, mode), alphabetical=shares_beginnings(method.backbone)
    )


def pair_features(method: Method[Any], images: Images, count: int, batch_size: int) -> Tensor:
    """Returns (N, E): the image side of pair scores, for a gallery."""
    assert isinstance(method, ScoresPairs)  # only these re-rank
    return embed_images(method, images, count, batch_size, method.pair_features)


def embed_images(
    method: Method[Any],
    images: Images,
    count: int,
    batch_size: int = 32,
    encode: Callable[[ImageInput], Tensor] | None = None,
) -> Tensor:
    """Returns (N, D) unit vectors of a gallery, or the vectors that `encode` returns for its images, on the CPU."""
    parts, encode = [], encode or method.encode_image
    with torch.no_grad(), progress("encoding images", count, "images") as advance:
        for start in range(0, count, batch_size):
            batch = images[range(start, min(start + batch_size, count))]
            parts.append(encode(batch.to(method.backbone.device)).cpu())
            advance(len(batch))
    return torch.cat(parts)


def untouched_embeddings(
    backbone: Backbone, texts: Sequence[str], images: Images, count: int, batch_size: int = 32
) -> tuple[Tensor, Tensor]:
    """Returns (N, D) and (M, D) unit vectors of images and texts by the untouched backbone."""
    untouched = build("zero_shot", backbone)
    return embed_images(untouched, images, count, batch_size), embed_texts(
        texts, untouched.encode_text, alphabetical=shares_beginnings(backbone)
    )
