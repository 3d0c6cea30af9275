"""Linear probe: one linear map behind each frozen tower, starting at the identity.

    f* = f + P f,   g* = g + Q g            (P = Q = 0 before training)

Weight decay pulls P and Q to zero, that is to the backbone, not to nothing. The simplest thing that learns: what it reaches, a
prompt has to beat.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from crosscue.backbones.protocol import Backbone, ImageInput
from crosscue.methods.parts.contrastive import ContrastiveConfig
from crosscue.methods.parts.frozen_towers import FrozenTowersMethod


class LinearProbe(FrozenTowersMethod[ContrastiveConfig]):
    """Two learned projections on frozen features, trained with InfoNCE."""

    name = "linear_probe"
    summary = "One linear map behind each frozen tower; the control every other method has to beat."
    config_class = ContrastiveConfig

    def __init__(self, backbone: Backbone, config: ContrastiveConfig) -> None:
        super().__init__(backbone, config)
        self.image_change = nn.Linear(backbone.embed_dim, backbone.embed_dim, bias=False)  # P (D, D)
        self.text_change = nn.Linear(backbone.embed_dim, backbone.embed_dim, bias=False)  # Q (D, D)
        nn.init.zeros_(self.image_change.weight)
        nn.init.zeros_(self.text_change.weight)
        self.to(backbone.device)

    def image_features(self, images: ImageInput) -> Tensor:
        """f*: images -> (B, D)."""
        features = self.plain_images(images)
        return features + self.image_change(features)

    def text_features(self, texts: Sequence[str], mode: str = "plain") -> Tensor:
        """g*: B texts -> (B, D)."""
        features = self.plain_texts(texts)
        return features + self.text_change(features)
