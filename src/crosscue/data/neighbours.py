"""The images of a set that are easily taken for one another."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

NEAREST = 50
"""Neighbours kept of each image."""
BLOCK = 1024


def nearest(images: Tensor, captions: Tensor, owner: Tensor, count: int = NEAREST) -> np.ndarray:
    """Returns the images with which retrieval confuses each image most.

    The confusion of images a and b has two cosines, added: a with the mean caption of b, b with that of a.

    Args:
        images: (N, D) unit vectors of the untouched model.
        captions: (M, D) unit vectors of their captions.
        owner: (M,) index of the image of each caption.
        count: number of neighbours.

    Returns:
        (N, min(count, N - 1)) indices of images, the most confusing first; memory is 1,024 x N scores.
    """
    total = torch.zeros_like(images).index_add_(0, owner, captions)
    described = normalize(total, dim=-1)  # (N, D) mean caption
    found = []
    for start in range(0, len(images), BLOCK):
        rows = slice(start, start + BLOCK)
        scores = images[rows] @ described.T + described[rows] @ images.T  # (b, N)
        own = torch.arange(len(scores))
        scores[own, start + own] = -torch.inf
        found.append(scores.topk(min(count, len(images) - 1), dim=1).indices)
    return torch.cat(found).numpy()
