"""Triplet hinge over candidate lists: the right candidate has to lead by a margin."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

HardNegatives = Literal["hardest", "semihard", "mean"]


def triplet_hinge(scores: Tensor, margin: float, negatives: HardNegatives = "hardest") -> Tensor:
    """Returns mean max(0, d_p - d_n + margin) with d = 1 - cosine (ACT eq. 11).

    Args:
        scores: (B, C) cosines of B queries with their candidates; column 0 is right, -inf is no candidate.
        margin: alpha.
        negatives: choice of d_n. `hardest`: the nearest wrong candidate. `semihard`: the nearest of those that are farther
            than the right one, or the farthest if there is none. `mean`: the hinge averaged over all.

    Returns:
        () zero where every right candidate leads by the margin; queries without a wrong candidate count as zero.
    """
    right, wrong = scores[:, :1], scores[:, 1:]  # (B, 1), (B, C - 1)
    present = wrong > -torch.inf
    if negatives == "mean":
        hinge = (wrong.masked_fill(~present, -2.0) - right + margin).clamp(min=0) * present  # (B, C - 1)
        return (hinge.sum(1) / present.sum(1).clamp(min=1)).mean()
    chosen = wrong.masked_fill(~present, -2.0)
    if negatives == "semihard":
        farther = chosen.masked_fill(wrong >= right, -2.0)
        farthest = wrong.masked_fill(~present, 2.0).amin(1)
        nearest = torch.where((farther > -2.0).any(1), farther.amax(1), farthest)
    else:
        nearest = chosen.amax(1)  # (B,)
    return ((nearest - right[:, 0] + margin).clamp(min=0) * present.any(1)).mean()
