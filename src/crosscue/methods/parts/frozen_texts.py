"""Text features of the untouched text tower."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from crosscue.backbones.embedding import embed_texts, shares_beginnings
from crosscue.backbones.protocol import Backbone
from crosscue.backbones.text_memory import TextMemory


class FrozenTexts:
    """Pooled text features of a backbone without prompts, not normalised."""

    def __init__(self, backbone: Backbone) -> None:
        self.backbone = backbone
        self.memory: TextMemory[Tensor] = TextMemory(
            lambda texts: embed_texts(texts, self.read, alphabetical=shares_beginnings(self.backbone))
        )

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """B texts -> (B, D); from memory where it has them all."""
        known = self.memory.recall(texts)
        return self.read(texts) if known is None else torch.stack(known).to(self.backbone.device)

    def read(self, texts: Sequence[str]) -> Tensor:
        """B texts -> (B, D), computed."""
        return self.backbone.encode_text(self.backbone.tokenize(texts)).pooled
