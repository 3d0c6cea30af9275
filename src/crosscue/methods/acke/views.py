"""UAIP: what generated descriptions teach, each as far as the evidence for it goes (losses/view_weights.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from crosscue.losses.contrastive import pair_losses
from crosscue.losses.evidential import annealed, evidential_loss, retrieval_evidence
from crosscue.losses.hardest import hardest_hinge
from crosscue.losses.opinions import dempster_evidence
from crosscue.losses.prototypes import (
    above_zero,
    ambiguity_weight,
    prototype_overlap,
    total_belief,
    uncertainty_alignment,
)
from crosscue.losses.view_weights import known_pairs, shuffled, view_opinions
from crosscue.methods.acke.descriptions import COUNT

if TYPE_CHECKING:
    from crosscue.methods.acke.config import AckeConfig


class ViewLosses(nn.Module):
    """The losses of unit vectors: R images f (R, D), their captions g (R, D) and V drawn descriptions of each, z (V, R, D)."""

    def __init__(self, config: AckeConfig, embed_dim: int) -> None:
        super().__init__()
        self.config = config
        pau = config.weights == "pau"
        self.prototypes = nn.Parameter(torch.randn(config.prototypes, embed_dim)) if pau else None  # (K, D)

    def forward(
        self, images: Tensor, texts: Tensor, views: Tensor, same: Tensor | None, scale: Tensor, step: int
    ) -> dict[str, Tensor]:
        """Returns the losses, already times their weights, and what is worth watching.

        Args:
            images: f.
            texts: g.
            views: z.
            same: (R, R) bool, other matches; see `same_meaning`.
            scale: () 1 / temperature.
            step: training steps so far.
        """
        config = self.config
        sharp = scale if config.evidence_scale is None else scale.new_tensor(config.evidence_scale)
        how = {"margin": config.evidence_margin, "prior_weight": config.prior_weight}
        held = view_opinions(images, texts, views, sharp, same=same, **how)
        losses: dict[str, Tensor] = {}
        weights = torch.ones_like(held.trust) if config.weights == "uniform" else held.weights
        if config.weights == "shuffled":
            weights = shuffled(weights)
        if self.prototypes is not None:
            weights, losses = self.ambiguity(self.prototypes, images, views)
        share = COUNT / len(views)  # a drawn description stands for those that were not drawn
        contrast, hinge = images.new_zeros(()), images.new_zeros(())
        for weight, view in zip(weights, views, strict=True):
            contrast = contrast + (weight * pair_contrast(images, view, scale, config, same)).mean()
            hinge = hinge + (weight * pair_hinge(images, view, config.margin, same)).mean()
        return losses | {
            "view_loss": config.lambda_view * share * contrast,
            "view_hinge_loss": config.lambda_view_hinge * share * hinge,
            "evidential_loss": config.lambda_evidential * self.evidential(images, [texts, *views], same, sharp, step),
            "view_uncertainty": held.uncertainty.mean(),
            "view_conflict": held.conflict.mean(),
            "view_weight_spread": weights.std(),
            "fused_uncertainty": held.fused.uncertainty.mean(),
        }

    def evidential(
        self, images: Tensor, sources: list[Tensor], same: Tensor | None, scale: Tensor, step: int
    ) -> Tensor:
        """Returns the evidential loss of caption and descriptions fused by Dempster's rule, both directions summed."""
        config, known = self.config, known_pairs(same, images)
        target = torch.eye(len(images), device=images.device)
        kl = config.evidential_kl * annealed(step, config.kl_steps)
        cosines = [texts @ images.T for texts in sources]
        loss = images.new_zeros(())
        for turned in (cosines, [matrix.T for matrix in cosines]):
            evidence = [
                retrieval_evidence(matrix, scale, config.evidence_margin, known=known, excluded=same, smooth=True)
                for matrix in turned
            ]
            fused = dempster_evidence(torch.stack(evidence), config.prior_weight)
            loss = loss + evidential_loss(fused, target, prior_weight=config.prior_weight, kl_weight=kl)
        return loss

    def ambiguity(self, prototypes: Tensor, images: Tensor, views: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns PAU's weights (V, R), average 1 and without gradient, and the losses that teach its prototypes (K, D)."""
        prototypes = normalize(prototypes, dim=-1)
        belief = total_belief(self.config.prototype_scale * views @ prototypes.T)  # 1 - U (V, R)
        weights = ambiguity_weight(belief).detach()
        align = [uncertainty_alignment(b, above_zero(view @ images.T)) for b, view in zip(belief, views, strict=True)]
        return weights / weights.mean(), {
            "align_loss": self.config.lambda_align * torch.stack(align).sum(),
            "prototype_loss": self.config.lambda_align * prototype_overlap(prototypes @ prototypes.T),
        }


def pair_contrast(images: Tensor, texts: Tensor, scale: Tensor, config: AckeConfig, same: Tensor | None) -> Tensor:
    """Returns (B,) the contrastive loss of each pair, averaged over the directions."""
    logits = scale * images @ texts.T
    return pair_losses(logits, logits, directions=config.directions, not_negative=same)


def pair_hinge(images: Tensor, texts: Tensor, margin: float, same: Tensor | None) -> Tensor:
    """Returns (B,) both directions' hinge on the hardest negative."""
    by_image, by_text = hardest_hinge(images @ texts.T, margin, same)
    return by_image + by_text
