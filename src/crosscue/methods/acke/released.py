"""ACKE as its released code computes it (github.com/nynu-BDAI/ACKE, June 2025), with one option for each of its defects.

Written from a description of the arithmetic, to measure what the defects do. What differs from the clean method:

- every step reads all three descriptions;
- the weight of a description is PAU's exp(-(1 - K / S)), and the prototypes are the whole pool, projected;
- so a description that resembles nothing weighs most;
- prompts start in U(-1, 1) and are chosen hard, in order, by keys that never learn;
- text prompts meet no words: [0 .. 0, prompts, pooled caption] goes through the text tower a second time.

    L = L_clip + 0.1 L_tri + 0.001 sum_v (w L_tri^v + L_clip^v) + 0.1 L_var + 100 L_uct

Equations:

    released loss L -> methods.acke.released.released_losses
    L_tri           -> losses.hardest.hardest_hinge
    w               -> losses.prototypes.ambiguity_weight
    L_var           -> losses.prototypes.prototype_overlap
    L_uct           -> losses.prototypes.uncertainty_alignment
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from crosscue.backbones.embedding import encode_bucketed
from crosscue.backbones.protocol import Backbone, Prompts, TokenBatch
from crosscue.backbones.token_weights import TokenWeights
from crosscue.errors import MethodError
from crosscue.losses.contrastive import contrastive
from crosscue.losses.hardest import hardest_hinge
from crosscue.losses.prototypes import ambiguity_weight, prototype_overlap, total_belief, uncertainty_alignment
from crosscue.methods.acke.config import AckeConfig
from crosscue.methods.acke.frozen_queries import FrozenQueries
from crosscue.methods.acke.model import Acke
from crosscue.methods.acke.pool import PromptPool, Selection
from crosscue.methods.acke.towers import two_layers
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
"""`broadcast`: (B,) costs times (B, 1) weights, so every pair gets the sum of all weights. `unnormalised`: descriptions are compared
with prototypes at their full length, which saturates. `attached`: gradients flow into the weights and the alignment's scale.
`caption_logits`: a description's uncertainty is aligned with its caption's negatives. `scaled_overlap`: the prototypes' overlap is
counted three times and times the squared logit scale. `frozen_keys`: keys never learn. `pooled_text`: prompts meet the pooled caption,
not its words."""
TAU = 5.0
"""Scaled similarities are divided by this before they become evidence."""


@dataclass(frozen=True)
class ReleasedAckeConfig(AckeConfig):
    """Options of the released ACKE. Every step reads all three descriptions, or none with weights none."""

    defects: tuple[Defect, ...] = DEFECTS
    """Defects of the released code that are kept."""


class ReleasedAcke(Acke):
    """The arithmetic of the released ACKE around the same encoders."""

    name = "acke_released"
    summary = "ACKE with the released code's arithmetic, one option for each of its defects. For comparisons only."
    paper = "ACKE, TOMM 2026 (github.com/nynu-BDAI/ACKE), as released"
    config_class = ReleasedAckeConfig
    config: ReleasedAckeConfig

    def __init__(self, backbone: Backbone, config: ReleasedAckeConfig) -> None:
        check_released(backbone, config)
        super().__init__(backbone, config)
        self.view_losses.prototypes = None  # the pool's prompts are the prototypes

    def frozen_queries(self) -> FrozenQueries:
        """Returns the reader of queries before the projection (B, W), the width of the released keys."""
        return FrozenQueries(self.backbone, hidden=True)

    def prompt_pool(self) -> PromptPool:
        """Returns the released pool, which the losses need even where no input gets prompts."""
        keys: Literal["random", "learned"] = "random" if "frozen_keys" in self.config.defects else "learned"
        return ReleasedPool(self.config.shape, self.backbone.image_width, self.frozen.width, keys)

    def prompt_projector(self) -> nn.Module:
        """Returns phi, which the losses need even where no text gets prompts."""
        return two_layers(self.backbone.image_width, self.config.projector_width, self.backbone.text_width)

    def read_prompted(self, texts: Sequence[str], prompts: Prompts | None) -> Tensor:
        """Texts, and one set of prompts for each (B, k L, W) -> (B, D); with pooled_text in a second pass."""
        if prompts is None or "pooled_text" not in self.config.defects:
            return super().read_prompted(texts, prompts)
        return second_pass(self.towers, self.towers.encode_text(self.towers.tokenize(texts)).pooled, prompts)

    def tokenize(self, texts: Sequence[str]) -> TokenBatch:
        """Tokenises texts; with pooled_text their prompts take no room."""
        return self.towers.tokenize(texts) if "pooled_text" in self.config.defects else super().tokenize(texts)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Returns the parts of the released loss, times their weights."""
        if self.training:
            self.steps += 1
        return released_losses(self, self.completed(batch))


class ReleasedPool(PromptPool):
    """A pool that starts in U(-1, 1). Random keys choose without a gate, the nearest prompt first."""

    def drawn(self, *size: int, std: float) -> Tensor:
        """Returns the first values of prompts or keys, from U(-1, 1)."""
        return torch.empty(*size).uniform_(-1, 1)

    def gated(self, affinity: Tensor, nearest: Tensor) -> Selection:
        """Returns the choice of `nearest` (B, k), with a gate only if the keys are learned."""
        if self.kind != "random":
            return super().gated(affinity, nearest)
        return Selection(nearest, torch.ones_like(affinity[:, : self.shape.chosen]), affinity)


def released_losses(method: ReleasedAcke, batch: Batch) -> dict[str, Tensor]:
    """Returns the parts of the released loss L, times their weights."""
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


def described(method: ReleasedAcke, batch: Batch) -> list[tuple[str, str, str]]:
    """Returns the three descriptions of every image of a batch; the released losses cannot do without one."""
    found = [views for views in method.views.of(batch.image_ids, batch.captions) if views is not None]
    if len(found) < len(batch):
        raise MethodError(
            f"{len(batch) - len(found)} images of a batch have no descriptions, and method 'acke_released' reads all three of every "
            "image. Use method acke, or describe them: crosscue describe views SOURCE --out FILE.jsonl"
        )
    return found


def second_pass(towers: Backbone, pooled: Tensor, prompts: Prompts) -> Tensor:
    """Reads [0 .. 0, T, h] with the text tower at its last position: T (B, n, W) prompts, h (B, D) pooled captions -> (B, D).

    The zeros fill the tower's whole context, carry positions, and are attended to, as in the released code.
    """
    own = prompts.layers[0]
    empty = own.new_zeros(pooled.shape[0], towers.context_length - own.shape[1] - 2, own.shape[2])
    sequence = torch.cat([empty, own, pooled[:, None]], dim=1)  # (B, context - 1, W), after one token of weight 0
    ids = torch.zeros(pooled.shape[0], 1, dtype=torch.int64, device=pooled.device)
    tokens = TokenBatch(ids, torch.ones_like(ids[:, 0]), torch.zeros_like(ids, dtype=torch.bool))
    nothing = TokenWeights(torch.zeros_like(ids, dtype=pooled.dtype))
    return towers.encode_text(tokens, Prompts.of([sequence]), nothing).pooled


def check_released(backbone: Backbone, config: ReleasedAckeConfig) -> None:
    """Raises `MethodError` where the released arithmetic is impossible."""
    if config.depth > 1 or config.text_start_layer or config.image_start_layer:
        raise MethodError(
            "method 'acke_released' has prompts at the input of both towers only: use depth 1 and start layers 0."
        )
    causal = backbone.family == "clip" or "pooled_text" not in config.defects
    equal = backbone.text_width == backbone.embed_dim
    if not causal or (not equal and (config.weights != "none" or "pooled_text" in config.defects)):
        raise MethodError(
            f"method 'acke_released' compares and mixes prompts of the text tower (width {backbone.text_width}) with embeddings (width "
            f"{backbone.embed_dim}) of a causal text tower: it needs a CLIP checkpoint where both are equal, such as ViT-B/32, and "
            f"'{backbone.source}' (family {backbone.family}) is not one. Use such a checkpoint, or method acke."
        )
