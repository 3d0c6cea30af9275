"""InfoNCE between a batch of images and a batch of captions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

Directions = Literal["both", "i2t", "t2i"]


def contrastive(
    images: Tensor,
    texts: Tensor,
    logit_scale: Tensor,
    *,
    directions: Directions = "both",
    not_negative: Tensor | None = None,
) -> Tensor:
    """Returns the InfoNCE loss of B pairs, the sum of the chosen directions (DCAR eq. 15: no factor 1/2).

    Args:
        images: (B, D) unit vectors; row i belongs to row i of `texts`.
        texts: (B, D) unit vectors.
        logit_scale: () 1 / temperature.
        directions: image to text, text to image, or both.
        not_negative: (B, B) bool, true where an off-diagonal pair is also a match and must not be pushed apart;
            see `same_meaning`.

    Returns:
        () mean over the batch.
    """
    logits = logit_scale * images.float() @ texts.float().T  # (B, B)
    if not_negative is not None:
        logits = logits.masked_fill(not_negative, float("-inf"))
    target = torch.arange(len(logits), device=logits.device)
    loss = logits.new_zeros(())
    if directions in ("both", "i2t"):
        loss = loss + cross_entropy(logits, target)
    if directions in ("both", "t2i"):
        loss = loss + cross_entropy(logits.T, target)
    return loss


def pair_losses(
    i2t: Tensor, t2i: Tensor, *, directions: Directions = "both", not_negative: Tensor | None = None
) -> Tensor:
    """Returns (B,) the InfoNCE loss of every pair, averaged over the chosen directions.

    Args:
        i2t: (B, B) logits of a row's image and a column's caption, for image to text.
        t2i: (B, B) the same pairs, for text to image; columns are its queries.
        directions: image to text, text to image, or both.
        not_negative: see `contrastive`.
    """
    if not_negative is not None:
        i2t, t2i = (logits.masked_fill(not_negative, float("-inf")) for logits in (i2t, t2i))
    target = torch.arange(len(i2t), device=i2t.device)
    losses = []
    if directions in ("both", "i2t"):
        losses.append(cross_entropy(i2t, target, reduction="none"))
    if directions in ("both", "t2i"):
        losses.append(cross_entropy(t2i.T, target, reduction="none"))
    return torch.stack(losses).mean(0)


def same_meaning(
    captions: Sequence[str], image_ids: Sequence[str], device: torch.device | str = "cpu"
) -> Tensor | None:
    """Returns (B, B) bool, true off the diagonal where two pairs share their caption or their image; None if nowhere."""
    caption_of, image_of = _codes(captions), _codes(image_ids)
    same = (caption_of[:, None] == caption_of) | (image_of[:, None] == image_of)
    same.fill_diagonal_(False)
    return same.to(device) if same.any() else None


def _codes(names: Sequence[str]) -> Tensor:
    first: dict[str, int] = {}
    return torch.tensor([first.setdefault(name, len(first)) for name in names])
