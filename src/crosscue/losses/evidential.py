"""Evidence from similarities, and the losses of evidential deep learning.

A text is evidence for an image by as much as their cosine stands out from the text's cosines with the other images.
Ordinary cosines of CLIP lie close together, so a map without that background gives every text the same uncertainty.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.distributions import Dirichlet, kl_divergence
from torch.nn.functional import softplus

from crosscue.losses.opinions import exact, weight_of

MOST = 10.0
"""The exponent of evidence is at most this: e^10 is certainty for any number of candidates a batch has."""
DEVIATIONS = 2.0
"""Standard deviations above the background at which evidence begins, without a margin."""


def background(cosines: Tensor, known: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Returns mean and standard deviation (B, 1) of every row's cosines, without gradient.

    Args:
        cosines: (B, K).
        known: (B, K) bool, entries that are matches and no background.
    """
    cosines = cosines.detach().float()
    ordinary = torch.ones_like(cosines) if known is None else (~known).float()
    count = ordinary.sum(1, keepdim=True).clamp(min=1)
    mean = (cosines * ordinary).sum(1, keepdim=True) / count
    spread = ((cosines - mean).square() * ordinary).sum(1, keepdim=True) / count
    return mean, spread.sqrt()


def retrieval_evidence(
    cosines: Tensor,
    scale: Tensor | float,
    margin: float | None = None,
    *,
    known: Tensor | None = None,
    excluded: Tensor | None = None,
    smooth: bool = False,
) -> Tensor:
    """Returns the evidence (B, K) that each query of a row gives for each candidate.

    e = expm1(clip(scale (cosine - mean of the background - margin), 0, 10)): nothing for a candidate that does not stand out.

    Args:
        cosines: (B, K).
        scale: rate at which evidence grows; the logit scale is a good one.
        margin: distance above the background at which evidence begins; default two standard deviations of the row's background.
        known: (B, K) bool, matches, which are left out of the background.
        excluded: (B, K) bool, those of `known` that get no evidence (another image with the same caption).
        smooth: softplus(scale (...)) instead, which has a gradient everywhere: for losses.
    """
    mean, spread = background(cosines, known)
    above = scale * (exact(cosines) - mean - (DEVIATIONS * spread if margin is None else margin))
    evidence = softplus(above) if smooth else torch.expm1(above.clamp(0, MOST))
    return evidence if excluded is None else evidence.masked_fill(excluded, 0)


def evidential_loss(
    evidence: Tensor,
    target: Tensor,
    *,
    prior_weight: float | None = None,
    kl_weight: float = 0.0,
    fit: Literal["mse", "digamma"] = "mse",
) -> Tensor:
    """Returns the evidential loss of B queries, averaged (Sensoy et al., eq. 5; `digamma`: their eq. 4, used by TMC).

    With alpha = e + W / K and p = alpha / S, `mse` is sum_k (y_k - p_k)^2 + p_k (1 - p_k) / (S + 1): the expected Brier score. The KL
    term takes back evidence for wrong candidates: KL(Dir(alpha~) || Dir(W / K)), alpha~ = alpha without the evidence for the right one.

    Args:
        evidence: (B, K) not negative.
        target: (B, K) one-hot rows.
        prior_weight: W; default K.
        kl_weight: of the KL term; see `annealed`.
        fit: `mse`: expected Brier score. `digamma`: expected cross-entropy.
    """
    evidence, target = exact(evidence), exact(target)
    weight = weight_of(evidence, prior_weight)
    prior = weight / evidence.shape[-1]
    alpha = evidence + prior
    strength = alpha.sum(-1, keepdim=True)  # S
    if fit == "mse":
        p = alpha / strength
        loss = ((target - p).square() + p * (1 - p) / (strength + 1)).sum(-1)
    else:
        loss = (target * (torch.digamma(strength) - torch.digamma(alpha))).sum(-1)
    if kl_weight:
        misleading = Dirichlet(evidence * (1 - target) + prior, validate_args=False)
        loss = loss + kl_weight * kl_divergence(
            misleading, Dirichlet(torch.full_like(alpha, prior), validate_args=False)
        )
    return loss.mean()


def annealed(step: int, length: int) -> float:
    """Returns the weight of the KL term at a step: it grows from 0 to 1 over `length` steps, so that evidence can grow first."""
    return min(1.0, step / length) if length else 1.0
