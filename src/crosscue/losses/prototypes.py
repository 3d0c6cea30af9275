"""Uncertainty from similarity to prototypes (PAU, NeurIPS 2023, section 3): one number an item, no pairing needed.

PAU's reading is the opposite of vacuity. An item that resembles many prototypes is *ambiguous*, so its total belief 1 - K / S is the
uncertainty. An item that resembles none (total ignorance in subjective logic) counts as certain.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def total_belief(activations: Tensor) -> Tensor:
    """Returns 1 - K / S (B,) for evidence exp(activations), S = sum of (evidence + 1): PAU's uncertainty.

    Args:
        activations: (B, K) scaled similarities to K prototypes.
    """
    activations = activations.float()
    return torch.sigmoid(
        activations.logsumexp(-1) - math.log(activations.shape[-1])
    )  # E / (E + K) with E = sum of evidence


def ambiguity_weight(belief: Tensor) -> Tensor:
    """Returns w = exp(-(1 - K / S)) (B,): 1 for an item that resembles no prototype, down to 1/e for one that resembles many."""
    return torch.exp(-belief)


def uncertainty_alignment(belief: Tensor, similarities: Tensor, *, attached: bool = False) -> Tensor:
    """Returns () the mean of (1 - U_i - c y_i)^2: an item should be as uncertain as it resembles negatives (PAU eq. 12, L_uct).

    y_i is the sum of row i's similarities without its match, over B; c = mean(1 - U) / mean(y) puts both on one scale.

    Args:
        belief: (B,) 1 - U.
        similarities: (B, B) not negative, matches on the diagonal; see `above_zero`. The mean of cosines is 0 in a
            centred space, and c would then be of any size and sign.
        attached: let gradients flow through c, as the released ACKE does.
    """
    similarities = similarities.float()
    negatives = (similarities.sum(1) - similarities.diagonal()) / len(similarities)  # y (B,)
    scale = belief.mean() / negatives.mean()
    return (belief - (scale if attached else scale.detach()) * negatives).square().mean()


def above_zero(cosines: Tensor) -> Tensor:
    """Returns (1 + cos) / 2, in 0 .. 1: the mean stays away from 0 where cosines have both signs."""
    return (1 + cosines) / 2


def prototype_overlap(similarities: Tensor) -> Tensor:
    """Returns L_var (): the mean over all K^2 entries of the squared off-diagonal similarities (K, K) of prototypes to each other."""
    off = similarities - torch.diag(similarities.diagonal())
    return off.square().mean()
