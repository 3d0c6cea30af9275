"""FILIP (arXiv 2111.07783) carried to retrieval: every patch looks for its best word, every word for its best patch.

    image    -> image tower -> patches -> W_v -> p_1 .. p_P      s_i2t = mean_a max_b p_a . q_b
    caption  -> text tower  -> words   -> W_t -> q_1 .. q_n      s_t2i = mean_b max_a p_a . q_b

The two directions are ranked by two scores. Patches and words of a CLIP-like backbone were never compared in its pre-training, only
pooled features were. The heads W_v and W_t start as the identity and learn to align them.

Equations:

    FILIP section 3.1      -> methods.filip.Filip.token_scores
    mean_a max_b p_a . q_b -> methods.filip.token_wise
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from crosscue.backbones.protocol import ImageInput
from crosscue.losses.contrastive import pair_losses
from crosscue.methods.capabilities import LateInteraction, Tokens
from crosscue.methods.contract import Batch
from crosscue.methods.parts.carrier import Carrier, CarrierConfig


@dataclass(frozen=True)
class FilipConfig(CarrierConfig):
    """Options of FILIP: the carrier, and additions to the token-wise score."""

    global_weight: float = 0.0
    """Multiplier of the cosine of the pooled features, which is added to both scores. 0 is the paper; a public
    implementation trains 0.5."""
    pad_bug: bool = False
    """True: padding takes part in the maxima and means of training, as in a public implementation. Scores of a test
    never contain it."""


class Filip(Carrier[FilipConfig], LateInteraction):
    """Token-wise maximum similarity, trained and ranked by."""

    name = "filip"
    summary = "Patches and words compared one by one (late interaction). More memory and time at search."
    paper = "arXiv 2111.07783"
    config_class = FilipConfig
    needs_heads = True

    def image_tokens(self, images: ImageInput) -> Tokens:
        """B images -> their patches p (B, P, D); none is padding."""
        features = self.read_images(images)
        patches = normalize(self.image_head(features.patches).float(), dim=-1)  # (B, P, D)
        valid = torch.ones(patches.shape[:2], dtype=torch.bool, device=patches.device)
        return Tokens(patches, valid, normalize(features.pooled.float(), dim=-1))

    def text_tokens(self, texts: Sequence[str]) -> Tokens:
        """B texts -> their words and end tokens q (B, N, D); start token, context and padding are not among the valid."""
        tokens = self.tokenize(texts)
        features = self.read_texts(tokens)
        words = normalize(self.text_head(features.tokens).float(), dim=-1)  # (B, N, D)
        place = torch.arange(words.shape[1], device=words.device)
        valid = tokens.content | (place == tokens.lengths[:, None] - 1)  # (B, N)
        return Tokens(words, valid, normalize(features.pooled.float(), dim=-1))

    def token_scores(self, images: Tokens, texts: Tokens) -> tuple[Tensor, Tensor]:
        """s_i2t and s_t2i, each (B, M) (FILIP section 3.1), plus the weighted cosine of the pooled features."""
        i2t, t2i = token_wise(images.vectors, texts.vectors, texts.valid)
        if not self.config.global_weight:
            return i2t, t2i
        whole = self.config.global_weight * images.whole @ texts.whole.T
        return i2t + whole, t2i + whole

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """InfoNCE of s_i2t over captions and of s_t2i over images, averaged."""
        images, texts = self.image_tokens(batch.images), self.text_tokens(batch.captions)
        if self.config.pad_bug:
            texts = Tokens(texts.vectors, torch.ones_like(texts.valid), texts.whole)
        i2t, t2i = (self.backbone.logit_scale * scores for scores in self.token_scores(images, texts))
        same = self.same(batch.captions, batch)
        loss = pair_losses(i2t, t2i, directions=self.config.directions, not_negative=same)
        return {"token_loss": loss.mean()}

    def image_features(self, images: ImageInput) -> Tensor:
        """(B, D): the mean patch, for measures of spread."""
        return self.image_tokens(images).vectors.mean(1)

    def text_features(self, texts: Sequence[str], mode: str = "plain") -> Tensor:
        """(B, D): the mean word, for measures of spread."""
        tokens = self.text_tokens(texts)
        return (tokens.vectors * tokens.valid.unsqueeze(-1)).sum(1) / tokens.valid.sum(1, keepdim=True)


def token_wise(patches: Tensor, words: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Returns mean_a max_b p_a . q_b and mean_b max_a p_a . q_b over real words.

    Args:
        patches: (B, P, D) unit vectors.
        words: (M, N, D) unit vectors.
        valid: (M, N) bool, false at padding.

    Returns:
        (B, M) and (B, M).
    """
    similar = (patches.flatten(0, 1) @ words.flatten(0, 1).T).view(*patches.shape[:2], *valid.shape)  # (B, P, M, N)
    of_words = similar.amax(1) * valid  # (B, M, N)
    if not valid.all():
        similar = similar.masked_fill(~valid, float("-inf"))
    return similar.amax(3).mean(1), of_words.sum(2) / valid.sum(1)
