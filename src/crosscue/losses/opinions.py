"""Subjective-logic opinions: the belief of a source in each of K candidates, and its uncertainty.

An opinion is a belief per candidate and one uncertainty (vacuity); together they add up to 1. As a Dempster-Shafer mass function
it is m({k}) = belief_k, m(all candidates) = uncertainty, and nothing else. So the rule below has a short exact form.

    evidence e >= 0  ->  belief_k = e_k / S,  uncertainty = W / S,  S = W + sum e        (Josang; W = K in evidential deep learning)

Fusing many sources by Dempster's rule is a product in evidence space (`dempster_evidence`). Everything is float32 or better.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Opinion:
    """Beliefs and uncertainties; leading dimensions are a batch."""

    belief: Tensor
    """(..., K) >= 0"""
    uncertainty: Tensor
    """(...) in 0 .. 1; 1 is the vacuous opinion, 0 a dogmatic one."""

    @property
    def projected(self) -> Tensor:
        """(..., K) expected probabilities: the uncertainty is shared out evenly."""
        return self.belief + self.uncertainty.unsqueeze(-1) / self.belief.shape[-1]


def opinion(evidence: Tensor, prior_weight: float | None = None) -> Opinion:
    """Returns the opinion that evidence (..., K) amounts to.

    Args:
        evidence: not negative.
        prior_weight: W, the evidence that would halve the uncertainty; default K. With W = K uncertainty depends on how many
            candidates there are.
    """
    evidence = exact(evidence)
    weight = weight_of(evidence, prior_weight)
    total = weight + evidence.sum(-1)
    return Opinion(evidence / total.unsqueeze(-1), weight / total)


def degree_of_conflict(first: Opinion, second: Opinion) -> Tensor:
    """Returns the degree of conflict (RCML), (...) in 0 .. 1: distance of the projected probabilities, as far as both are certain.

    DC = 1/2 |p1 - p2| (1 - u1) (1 - u2). Symmetric; 0 where the two agree or either is vacuous.
    """
    distance = (first.projected - second.projected).abs().sum(-1) / 2
    return distance * (1 - first.uncertainty) * (1 - second.uncertainty)


def dempster_evidence(evidence: Tensor, prior_weight: float | None = None) -> Tensor:
    """Dempster's rule in closed form: 1 + e_k / W = product over the sources of (1 + e_k^v / W).

    Args:
        evidence: (V, ..., K) one row a source.
        prior_weight: W; default K.

    Returns:
        (..., K) fused evidence; infinite beyond float range, where `dempster_opinion` still is finite.
    """
    evidence = exact(evidence)
    weight = weight_of(evidence, prior_weight)
    return weight * torch.expm1(torch.log1p(evidence / weight).sum(0))


def dempster_opinion(evidence: Tensor, prior_weight: float | None = None) -> Opinion:
    """The opinion of `dempster_evidence`, for evidence of any size: the products are never formed."""
    evidence = exact(evidence)
    growth = torch.log1p(evidence / weight_of(evidence, prior_weight)).sum(0)  # log(1 + e / W) (..., K)
    top = growth.amax(-1, keepdim=True)
    belief = -torch.exp(growth - top) * torch.expm1(-growth)  # e / W, times exp(-top)
    uncertainty = torch.exp(-top)
    total = belief.sum(-1, keepdim=True) + uncertainty
    return Opinion(belief / total, (uncertainty / total).squeeze(-1))


def exact(values: Tensor) -> Tensor:
    """Returns the values in float32 or better."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def weight_of(evidence: Tensor, prior_weight: float | None) -> float:
    """Returns W: the given one, or the number of candidates K."""
    return float(evidence.shape[-1]) if prior_weight is None else prior_weight
