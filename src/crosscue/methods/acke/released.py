"""ACKE as its released code computes it (github.com/nynu-BDAI/ACKE, June 2025), with each of its defects on a switch.

Written from a description of the arithmetic, to measure what the defects do. What differs from the clean method:

- every step reads all three descriptions; the weight of a description is PAU's exp(-(1 - K / S)) with the whole pool, projected, as
  prototypes, so a description that resembles nothing weighs most;
- prompts start in U(-1, 1) and are chosen hard, in order, by keys that never learn;
- text prompts meet no words: [0 .. 0, prompts, pooled caption] goes through the text tower a second time.

    L = L_clip + 0.1 L_hinge + 0.001 sum_v (L_hinge^v + L_clip^v) + 0.1 L_var + 100 L_uct
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

from crosscue.backbones.embedding import encode_bucketed
from crosscue.backbones.protocol import Prompts, TokenBatch
from crosscue.errors import MethodError
from crosscue.losses.contrastive import contrastive
from crosscue.losses.hardest import hardest_hinge
from crosscue.losses.prototypes import ambiguity_weight, prototype_overlap, total_belief, uncertainty_alignment

if TYPE_CHECKING:
    from crosscue.backbones.protocol import Backbone
    from crosscue.methods.acke.config import AckeConfig
    from crosscue.methods.acke.model import Acke
    from crosscue.methods.contract import Batch

Defect = Literal[
    "broadcast", "unnormalised", "attached", "caption_logits", "scaled_overlap", "frozen_keys", "pooled_text"
]
DEFECTS: tuple[Defect, ...] = (
    "broadcast",
    "unnormalised",
    "attached",
    "caption_logits",
    "scaled_overlap",
    "frozen_keys",
    "pooled_text",
)
"""broadcast: (B,) costs times (B, 1) weights, so every pair gets the sum of all weights. unnormalised: descriptions are compared with
prototypes at their full length, which saturates. attached: gradients flow into the weights and the alignment's scale. caption_logits: a
description's uncertainty is aligned with its caption's negatives. scaled_overlap: the prototypes' overlap is counted three times and
times the squared logit scale. frozen_keys: keys never learn. pooled_text: prompts meet the pooled caption, not its words."""
TAU = 5.0
"""Scaled similarities are divided by this before they become evidence."""


def released_losses(method: Acke, batch: Batch) -> dict[str, Tensor]:
    """Returns the parts of the released loss, times their weights."""
    config, scale = method.config, method.backbone.logit_scale
    chosen = method.chosen_by_images(batch.images, batch.untouched)
    images = normalize(method.read_images(batch.images, chosen).float(), dim=-1)  # f (B, D)
    paired = config.acp == "paired_leaky"
    queries = method.frozen.of_features(batch.untouched) if paired and batch.untouched is not None else None

    def read(texts: list[str]) -> Tensor:
        return (
            method.read_beside(texts, queries) if queries is not None else encode_bucketed(texts, method.text_features)
        ).float()

    captions = normalize(read(list(batch.captions)), dim=-1)  # g (B, D)
    losses = {"contrastive_loss": contrastive(images, captions, scale) / 2}
    if config.weights == "none":
        return losses
    losses["hinge_loss"] = 0.1 * sum_of(hardest_hinge(images @ captions.T, config.margin)).sum()
    assert method.pool is not None
    assert method.projector is not None
    prototypes = normalize(method.projector(method.pool.prompts[0].mean(1)), dim=-1)  # p (M, D)
    of_captions = scale * captions @ images.T  # (B, B)
    hinge, contrast, align = (images.new_zeros(()) for _ in range(3))
    for view in zip(*described(method, batch), strict=True):
        features = read(list(view))  # z (B, D), at full length
        unit = normalize(features, dim=-1)
        compared = features if "unnormalised" in config.defects else unit
        belief = total_belief(scale * compared @ prototypes.T / TAU)  # (B,)
        costs = sum_of(hardest_hinge(images @ unit.T, config.margin))  # (B,)
        hinge = hinge + weighted(costs, ambiguity_weight(belief), config.defects)
        contrast = contrast + contrastive(images, unit, scale) / 2
        similar = of_captions if "caption_logits" in config.defects else scale * unit @ images.T
        align = align + uncertainty_alignment(belief, similar, attached="attached" in config.defects)
    overlap = prototypes @ prototypes.T
    scaled = "scaled_overlap" in config.defects
    return losses | {
        "view_hinge_loss": 0.001 * hinge,
        "view_loss": 0.001 * contrast,
        "prototype_loss": 0.1 * (3 * prototype_overlap(scale * overlap) if scaled else prototype_overlap(overlap)),
        "align_loss": 100 * align,
    }


def weighted(costs: Tensor, weights: Tensor, defects: tuple[Defect, ...]) -> Tensor:
    """Returns () the weighted sum of (B,) costs: pair by pair, or as broadcast by the released code."""
    weights = weights if "attached" in defects else weights.detach()
    return costs.sum() * weights.sum() if "broadcast" in defects else (weights * costs).sum()


def sum_of(hinges: tuple[Tensor, Tensor]) -> Tensor:
    """Returns (B,) rows' and columns' hinge of each pair."""
    return hinges[0] + hinges[1]


def described(method: Acke, batch: Batch) -> list[tuple[str, str, str]]:
    """Returns the three descriptions of every picture of a batch; the released losses cannot do without one."""
    found = [views for views in method.views.of(batch.image_ids, batch.captions) if views is not None]
    if len(found) < len(batch):
        raise MethodError(
            f"{len(batch) - len(found)} pictures of a batch have no descriptions, and faithful reads all three of every picture. "
            "Describe them (crosscue describe views), or use faithful false."
        )
    return found


def second_pass(towers: Backbone, pooled: Tensor, prompts: Prompts) -> Tensor:
    """Reads [0 .. 0, T, h] with the text tower at its last position: T (B, n, W) prompts, h (B, D) pooled captions -> (B, D).

    The zeros fill the tower's whole context, carry positions, and are attended to, as in the released code.
    """
    own = prompts.layers[0]
    empty = own.new_zeros(len(pooled), towers.context_length - own.shape[1] - 2, own.shape[2])
    sequence = torch.cat([empty, own, pooled[:, None]], dim=1)  # (B, context - 1, W), after one token of weight 0
    ids = torch.zeros(len(pooled), 1, dtype=torch.int64, device=pooled.device)
    tokens = TokenBatch(ids, torch.ones_like(ids[:, 0]), torch.zeros_like(ids, dtype=torch.bool))
    return towers.encode_text(tokens, Prompts.of([sequence]), torch.zeros_like(ids, dtype=pooled.dtype)).pooled


def check_released(backbone: Backbone, config: AckeConfig) -> None:
    """Raises `MethodError` where the released arithmetic is impossible."""
    if config.depth > 1 or config.text_start_layer or config.image_start_layer:
        raise MethodError("faithful has prompts at the input of both towers only: use depth 1 and start layers 0.")
    if backbone.family != "clip" or backbone.text_width != backbone.embed_dim:
        raise MethodError(
            f"faithful puts pooled captions (width {backbone.embed_dim}) among words (width {backbone.text_width}) of a causal text "
            f"tower: it needs a CLIP checkpoint where both are equal, such as ViT-B/32, and '{backbone.source}' is not one."
        )
