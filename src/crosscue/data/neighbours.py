"""Which pictures of a set are easily taken for one another."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

NEAREST = 50
"""Neighbours kept of each picture."""
BLOCK = 1024


def nearest(pictures: Tensor, captions: Tensor, owner: Tensor, count: int = NEAREST) -> np.ndarray:
    """Finds for every picture those with which retrieval confuses it most.

    The confusion of pictures a and b is the cosine of picture a with the mean caption of b plus that of b with the mean
    caption of a.

    Args:
        pictures: (N, D) unit vectors of the untouched model.
        captions: (M, D) the same of their captions.
        owner: (M,) the picture of each caption.
        count: how many to find.

    Returns:
        (N, min(count, N - 1)) numbers of pictures, the most confusing first; memory is 1,024 x N scores.
    """
    total = torch.zeros_like(pictures).index_add_(0, owner, captions)
    described = normalize(total, dim=-1)  # (N, D) mean caption
    found = []
    for start in range(0, len(pictures), BLOCK):
        rows = slice(start, start + BLOCK)
        scores = pictures[rows] @ described.T + described[rows] @ pictures.T  # (b, N)
        own = torch.arange(len(scores))
        scores[own, start + own] = -torch.inf
        found.append(scores.topk(min(count, len(pictures) - 1), dim=1).indices)
    return torch.cat(found).numpy()
