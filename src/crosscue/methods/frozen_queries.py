"""What the untouched towers make of pictures and sentences: the queries of a prompt pool, each computed once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from crosscue.backbones.embedding import encode_bucketed
from crosscue.backbones.protocol import Backbone, Pictures

REMEMBERED = 200_000
"""Most pictures, and most sentences, whose features are kept in memory: 400 MB at 512 numbers each."""


class FrozenQueries:
    """Features of a backbone without prompts; nothing is normalised and nothing has a gradient.

    Training remembers them, inference does not: a result then cannot depend on what was encoded before, not even in its last bit. A picture
    is known by its id, and given none where it is cropped anew each time.
    """

    def __init__(self, backbone: Backbone, *, hidden: bool = False) -> None:
        """With `hidden` a picture's feature before the projection (B, W), as in the released ACKE; else (B, D)."""
        self.backbone, self.hidden = backbone, hidden
        self.width = backbone.image_width if hidden else backbone.embed_dim
        self.pictures, self.sentences = dict[str, Tensor](), dict[str, Tensor]()

    @torch.no_grad()
    def of_images(self, images: Pictures, image_ids: Sequence[str] | None = None) -> Tensor:
        """Pictures or their cached state -> (B, C); with ids each picture is encoded once."""
        if image_ids is None:
            return self._encode(images)
        if any(name not in self.pictures for name in image_ids):
            if len(self.pictures) > REMEMBERED:
                self.pictures.clear()
            self.pictures.update(zip(image_ids, self._encode(images), strict=True))
        return torch.stack([self.pictures[name] for name in image_ids])

    @torch.no_grad()
    def of_texts(self, texts: Sequence[str], *, remember: bool = False) -> Tensor:
        """B sentences -> (B, D); with `remember` each sentence is encoded once."""
        if not remember:
            return self._read(texts)
        new = [text for text in dict.fromkeys(texts) if text not in self.sentences]
        if new:
            if len(self.sentences) > REMEMBERED:
                self.sentences.clear()
                new = list(dict.fromkeys(texts))
            self.sentences.update(zip(new, encode_bucketed(new, self._read), strict=True))
        return torch.stack([self.sentences[text] for text in texts])

    def _read(self, texts: Sequence[str]) -> Tensor:
        return self.backbone.encode_text(self.backbone.tokenize(texts)).pooled

    def _encode(self, images: Pictures) -> Tensor:
        features = self.backbone.encode_image(images)
        return features.hidden if self.hidden else features.pooled
