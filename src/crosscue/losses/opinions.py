"""Subjective-logic opinions: the belief of a source in each of K candidates, and its uncertainty.

An opinion is a belief per candidate and one uncertainty (vacuity); together they add up to 1. As a Dempster-Shafer mass function
it is m({k}) = belief_k, m(all candidates) = uncertainty, and nothing else, which is why the rules below have short exact forms.

    evidence e >= 0  ->  belief_k = e_k / S,  uncertainty = W / S,  S = W + sum e        (Josang; W = K in evidential deep learning)

`dempster`, `yager` and `discount` work on opinions; fusing many sources by Dempster's rule is a product in evidence space
(`dempster_evidence`), cumulative and averaging fusion are a sum and a mean there. Everything is float32 or better.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
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


def evidence_of(held: Opinion, prior_weight: float | None = None) -> Tensor:
    """Returns the evidence (..., K) behind an opinion: W b / u, infinite where the opinion is dogmatic."""
    return weight_of(held.belief, prior_weight) * held.belief / held.uncertainty.unsqueeze(-1)


def vacuous(like: Tensor) -> Opinion:
    """Returns the opinion of a source without evidence, shaped like evidence (..., K)."""
    like = exact(like)
    return Opinion(torch.zeros_like(like), torch.ones_like(like[..., 0]))


# --- two opinions -------------------------------------------------------------------------------------------------------


def conflict_mass(first: Opinion, second: Opinion) -> Tensor:
    """Returns C (...) = sum over i != j of b1_i b2_j: the belief the two put on different candidates."""
    return first.belief.sum(-1) * second.belief.sum(-1) - (first.belief * second.belief).sum(-1)


def degree_of_conflict(first: Opinion, second: Opinion) -> Tensor:
    """Returns the degree of conflict (RCML), (...) in 0 .. 1: distance of the projected probabilities, as far as both are certain.

    DC = 1/2 |p1 - p2| (1 - u1) (1 - u2). Symmetric; 0 where the two agree or either is vacuous.
    """
    distance = (first.projected - second.projected).abs().sum(-1) / 2
    return distance * (1 - first.uncertainty) * (1 - second.uncertainty)


def dempster(first: Opinion, second: Opinion) -> Opinion:
    """Dempster's rule: what both allow, made to add up to 1 again.

    b = (b1 b2 + b1 u2 + b2 u1) / (1 - C), u = u1 u2 / (1 - C). The vacuous opinion changes nothing; uncertainty never rises, whatever
    the conflict, so look at `conflict_mass` beside it. Two certain sources that contradict each other completely (C = 1) leave
    nothing that both allow: the result is then the vacuous opinion.
    """
    belief, uncertainty = _agreement(first, second)
    kept = belief.sum(-1) + uncertainty  # 1 - C, without a difference of near numbers
    none = kept <= torch.finfo(kept.dtype).tiny
    kept = torch.where(none, torch.ones_like(kept), kept)
    belief = torch.where(none.unsqueeze(-1), torch.zeros_like(belief), belief / kept.unsqueeze(-1))
    return Opinion(belief, torch.where(none, torch.ones_like(kept), uncertainty / kept))


def dempster_fold(opinions: Sequence[Opinion]) -> Opinion:
    """Combines several opinions by Dempster's rule, from left to right; the order does not matter."""
    return functools.reduce(dempster, opinions)


def yager(first: Opinion, second: Opinion) -> Opinion:
    """Yager's rule: like Dempster's, but conflict becomes uncertainty, u = u1 u2 + C. Not associative."""
    belief, uncertainty = _agreement(first, second)
    return Opinion(belief, uncertainty + conflict_mass(first, second))


def discount(held: Opinion, trust: Tensor | float) -> Opinion:
    """Trusts a source only so far: b -> trust b, u -> 1 - trust + trust u; trust (...) in 0 .. 1."""
    trust = torch.as_tensor(trust, dtype=held.belief.dtype, device=held.belief.device)
    return Opinion(trust.unsqueeze(-1) * held.belief, 1 - trust + trust * held.uncertainty)


def _agreement(first: Opinion, second: Opinion) -> tuple[Tensor, Tensor]:
    """The masses two sources have in common before anything is made of their conflict."""
    own, other = first.uncertainty.unsqueeze(-1), second.uncertainty.unsqueeze(-1)
    belief = first.belief * second.belief + first.belief * other + second.belief * own
    return belief, first.uncertainty * second.uncertainty


# --- many sources, in evidence space --------------------------------------------------------------------------------------


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


def cumulative(evidence: Tensor) -> Tensor:
    """(V, ..., K) -> (..., K): independent sources add up."""
    return exact(evidence).sum(0)


def averaging(evidence: Tensor) -> Tensor:
    """(V, ..., K) -> (..., K): dependent sources are averaged, so that repeated evidence does not raise certainty."""
    return exact(evidence).mean(0)


def exact(values: Tensor) -> Tensor:
    """Returns the values in float32 or better."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def weight_of(evidence: Tensor, prior_weight: float | None) -> float:
    """Returns W: the given one, or the number of candidates K."""
    return float(evidence.shape[-1]) if prior_weight is None else prior_weight
