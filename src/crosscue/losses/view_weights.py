"""Trust in the generated descriptions of an image, from vacuity and conflict of their evidence (ACKE, UAIP).

The frame is the batch: every text holds an opinion on which of the B images it belongs to. A description that points to no image
(vacuity) or to another one than the caption does (conflict) teaches less. Nothing here has a gradient: a weight that learned could
lower the loss by distrusting everything.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from crosscue.losses.evidential import retrieval_evidence
from crosscue.losses.opinions import Opinion, degree_of_conflict, dempster_opinion, opinion


@dataclass(frozen=True)
class ViewOpinions:
    """Opinions of B captions and of V descriptions of each image on the image they belong to."""

    trust: Tensor
    """(V, B) (1 - u) (1 - DC), before it is normalised."""
    uncertainty: Tensor
    """(V, B) u of the descriptions."""
    conflict: Tensor
    """(V, B) DC of each description with the caption."""
    fused: Opinion
    """(B, B) caption and descriptions combined by Dempster's rule."""

    @property
    def weights(self) -> Tensor:
        """(V, B) trust, scaled to average 1; all 0 where no description gives evidence."""
        return self.trust / self.trust.mean().clamp(min=1e-8)


@torch.no_grad()
def view_opinions(
    images: Tensor,
    captions: Tensor,
    views: Tensor,
    scale: Tensor | float,
    *,
    margin: float | None = None,
    prior_weight: float | None = None,
    same: Tensor | None = None,
) -> ViewOpinions:
    """Weighs descriptions by the evidence they give.

    Args:
        images: (B, D) unit vectors.
        captions: (B, D) unit vectors; row i belongs to image i.
        views: (V, B, D) unit vectors of V descriptions of each image.
        scale: see `retrieval_evidence`.
        margin: see `retrieval_evidence`.
        prior_weight: W; default the number of images.
        same: (B, B) bool, other images that also match; they are no candidates.
    """
    evidence = torch.stack(
        [
            retrieval_evidence(
                texts.float() @ images.float().T, scale, margin, known=known_pairs(same, images), excluded=same
            )
            for texts in (captions, *views)
        ]
    )  # (1 + V, B, B)
    caption, own = opinion(evidence[0], prior_weight), opinion(evidence[1:], prior_weight)
    conflict = degree_of_conflict(own, caption)
    trust = (1 - own.uncertainty) * (1 - conflict)
    return ViewOpinions(trust, own.uncertainty, conflict, dempster_opinion(evidence, prior_weight))


def known_pairs(same: Tensor | None, images: Tensor) -> Tensor:
    """Returns (B, B) bool, true where image and text match."""
    own = torch.eye(len(images), dtype=torch.bool, device=images.device)
    return own if same is None else own | same


def shuffled(weights: Tensor) -> Tensor:
    """(V, B) -> the same weights at other images: a control that tests if it matters which description gets which weight."""
    return weights[:, torch.randperm(weights.shape[1]).to(weights.device)]


@torch.no_grad()
def gallery_trust(
    images: Tensor,
    views: Tensor,
    scale: Tensor | float,
    *,
    margin: float | None = None,
    prior_weight: float | None = None,
    block: int = 256,
) -> Tensor:
    """Weighs the descriptions of a gallery's own images; no query is involved.

    Args:
        images: (N, D) unit vectors.
        views: (V, N, D) unit vectors of V descriptions of each image.
        scale: see `retrieval_evidence`.
        margin: see `retrieval_evidence`.
        prior_weight: W; default N.
        block: images at a time; memory is V x `block` x N.

    Returns:
        (V, N) (1 - u) (1 - mean DC with the image's other descriptions).
    """
    parts = []
    for start in range(0, len(images), block):
        texts = views[:, start : start + block]  # (V, b, D)
        own = torch.zeros(texts.shape[1], len(images), dtype=torch.bool)
        own[torch.arange(len(own)), torch.arange(start, start + len(own))] = True
        held = [opinion(retrieval_evidence(view @ images.T, scale, margin, known=own), prior_weight) for view in texts]
        conflict = torch.stack(
            [
                sum((degree_of_conflict(one, other) for other in held if other is not one), torch.zeros(len(own)))
                for one in held
            ]
        ) / max(len(held) - 1, 1)  # (V, b)
        parts.append((1 - torch.stack([one.uncertainty for one in held])) * (1 - conflict))
    return torch.cat(parts, dim=1)
