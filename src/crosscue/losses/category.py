"""The category-aware loss of DCAR: an image, its caption, and edited captions that are wrong for it."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Reduction = Literal["mean", "sum"]


def category_aware(
    images: Tensor,
    positives: Tensor,
    negatives: Tensor,
    weights: Tensor,
    positive_weight: float,
    logit_scale: Tensor,
    *,
    reduction: Reduction = "mean",
) -> Tensor:
    """Returns L_cate (DCAR eq. 18): -log of the positive's share of the weighted exponentials.

    The positive and every negative that keeps the category weigh 1 + alpha, a negative of another category 1 (eq. 17). Dividing
    through, alpha has one effect: negatives of another category count 1 / (1 + alpha) times.

    Args:
        images: (B, D) unit vectors.
        positives: (B, D) unit vectors of the captions.
        negatives: (B, Q, D) unit vectors.
        weights: (B, Q) w of eq. 17; 0 where a row has fewer than Q negatives.
        positive_weight: w of the positive.
        logit_scale: () 1 / temperature.
        reduction: mean over the batch, or the sum as printed in eq. 18.

    Returns:
        () the loss; a row without negatives contributes 0.
    """
    right = logit_scale * (images * positives).sum(-1, keepdim=True)  # (B, 1)
    wrong = logit_scale * torch.einsum("bd,bqd->bq", images, negatives)  # (B, Q)
    log_weights = torch.cat([torch.full_like(right, positive_weight), weights], dim=1).log()  # (B, 1 + Q)
    terms = torch.cat([right, wrong], dim=1) + log_weights
    loss = terms.logsumexp(1) - terms[:, 0]  # (B,)
    return loss.mean() if reduction == "mean" else loss.sum()
