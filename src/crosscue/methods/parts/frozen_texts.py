"""Text features of the untouched text tower."""

from __future__ import annotations

from collections.abc import Sequence
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from crosscue.backbones.embedding import embed_texts, shares_beginnings
from crosscue.backbones.protocol import Backbone
from crosscue.backbones.text_memory import TextMemory

SETS, LARGEST = 2, 50_000
"""Sets of texts that are kept for the next run, and the texts of the largest one."""
KEPT: WeakKeyDictionary[Backbone, dict[tuple[bool, tuple[str, ...]], Tensor]] = WeakKeyDictionary()
"""Features of the sets that were encoded last, by backbone: the runs of a grid read the same captions."""


class FrozenTexts:
    """Text features of a backbone without prompts, not normalised: pooled, and with `hidden` those before the projection behind them."""

    def __init__(self, backbone: Backbone, *, hidden: bool = False) -> None:
        self.backbone, self.hidden = backbone, hidden
        self.memory: TextMemory[Tensor] = TextMemory(self._features)

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """B texts -> (B, D), or (B, D + W); from memory where it has them all."""
        known = self.memory.recall(texts)
        return self.read(texts) if known is None else torch.stack(known).to(self.backbone.device)

    def read(self, texts: Sequence[str]) -> Tensor:
        """B texts -> (B, D), or (B, D + W), computed."""
        features = self.backbone.encode_text(self.backbone.tokenize(texts))
        return torch.cat([features.pooled, features.hidden], dim=1) if self.hidden else features.pooled

    def _features(self, texts: Sequence[str]) -> Tensor:
        """A set of texts (M) -> (M, D), or (M, D + W); a set that was encoded lately is not encoded again."""
        kept, key = KEPT.setdefault(self.backbone, {}), (self.hidden, tuple(texts))
        if key in kept:
            return kept[key]
        features = embed_texts(texts, self.read, alphabetical=shares_beginnings(self.backbone))
        if len(texts) <= LARGEST:
            while len(kept) >= SETS:
                del kept[next(iter(kept))]
            kept[key] = features
        return features
