"""Text features of the untouched text tower."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from crosscue.backbones.embedding import embed_texts, shares_beginnings
from crosscue.backbones.protocol import Backbone
from crosscue.backbones.text_memory import TextMemory


class FrozenTexts:
    """Text features of a backbone without prompts, not normalised: pooled, and with `hidden` those before the projection behind them."""

    def __init__(self, backbone: Backbone, *, hidden: bool = False) -> None:
        self.backbone, self.hidden = backbone, hidden
        self.memory: TextMemory[Tensor] = TextMemory(
            lambda texts: embed_texts(texts, self.read, alphabetical=shares_beginnings(self.backbone))
        )

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """B texts -> (B, D), or (B, D + W); from memory where it has them all."""
        known = self.memory.recall(texts)
        return self.read(texts) if known is None else torch.stack(known).to(self.backbone.device)

    def read(self, texts: Sequence[str]) -> Tensor:
        """B texts -> (B, D), or (B, D + W), computed."""
        features = self.backbone.encode_text(self.backbone.tokenize(texts))
        return torch.cat([features.pooled, features.hidden], dim=1) if self.hidden else features.pooled
