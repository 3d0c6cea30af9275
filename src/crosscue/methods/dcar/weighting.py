"""Token re-weighting of DCAR (arXiv 2508.04028, eq. 11-14): from token features and an image to weights of word embeddings."""

from __future__ import annotations

import torch
from torch import Tensor


def similarity_difference(features: Tensor, images: Tensor, blank: Tensor, *, exponential: bool) -> Tensor:
    """Returns dS (B, N) of DCAR eq. 11: the similarity of each token to the blank image minus that to its image.

    Args:
        features: (B, N, D) unit vectors u of the tokens.
        images: (B, D) unit vectors.
        blank: (D,) unit vector of the image without content.
        exponential: compare by the exponential of the cosine (eq. 1) instead of the cosine.
    """
    near, empty = (torch.einsum("bnd,bd->bn", features, of) for of in (images, blank.expand_as(images)))  # (B, N)
    return empty.exp() - near.exp() if exponential else empty - near


def absolute(difference: Tensor) -> Tensor:
    """Returns |dS| (B, N), the weights of DCAR eq. 13."""
    return difference.abs()


def nearer(difference: Tensor) -> Tensor:
    """Returns the weights (B, N) of tokens nearer to their image than to the blank one, else 0; not in the paper."""
    return (-difference).clamp(min=0)


def farther(difference: Tensor) -> Tensor:
    """Returns the weights (B, N) of tokens nearer to the blank image than to their own, else 0; a control."""
    return difference.clamp(min=0)


WEIGHTS = {"abs": absolute, "relu": nearer, "flipped": farther}
"""Weight functions by the value of the option `weights`."""


def share(weights: Tensor, content: Tensor) -> Tensor:
    """Returns the weights (B, N) of DCAR eq. 14, which add up to 1 over the content tokens; equal ones where all are 0."""
    count, total = content.sum(1, keepdim=True), weights.sum(1, keepdim=True)
    return torch.where(total < 1e-8, content / count, weights / total.clamp(min=1e-8))


def mean_one(shares: Tensor, content: Tensor, *, blend: float, smallest: float, largest: float) -> Tensor:
    """Returns weights (B, N) that average 1: shares blended with no weighting, limited to smallest .. largest, then scaled."""
    count = content.sum(1, keepdim=True)
    rho = (1 + blend * (count * shares - 1)).clamp(smallest, largest) * content
    return rho * count / rho.sum(1, keepdim=True).clamp(min=1e-8)


def dropped(rho: Tensor, chance: float) -> Tensor:
    """Returns (B, N) weights with random rows, each with this chance, set to 1."""
    rows = torch.rand(len(rho), 1, device=rho.device) < chance
    return torch.where(rows, torch.ones_like(rho), rho)


def shuffled(weights: Tensor, content: Tensor) -> Tensor:
    """Returns the weights (B, N) of every row in random order among its content tokens."""
    mixed = weights.clone()
    for row, places in enumerate(content):
        own = places.nonzero().squeeze(1)
        mixed[row, own] = weights[row, own[torch.randperm(len(own), device=own.device)]]
    return mixed
