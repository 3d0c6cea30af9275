"""Candidates of a training step of ACT, and the captions that images are read with."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from crosscue.backbones.protocol import ImageState

Read = Callable[[ImageState, Sequence[Sequence[str]]], Tensor]
"""B images and the texts each is read with -> (B, D) unit vectors."""
Scores = tuple[Tensor, Tensor]
"""Cosines of B queries with C candidates, image to text and text to image: (B, C) each, the right one first, -inf is none."""


def candidate_contrast(scores: Scores, scale: Tensor) -> Tensor:
    """Returns () the cross-entropy of the right candidates, both directions summed (ACT eq. 10); `scale` is 1 / tau."""
    right = torch.zeros(len(scores[0]), dtype=torch.int64, device=scale.device)
    return sum((cross_entropy(_logits(direction, scale), right) for direction in scores), start=scale.new_zeros(()))


def _logits(scores: Tensor, scale: Tensor) -> Tensor:
    """Returns scale times scores; -inf is kept out of the product, where it would make the gradient of `scale` nan."""
    none = scores == -torch.inf
    return (scale * scores.masked_fill(none, 0)).masked_fill(none, -torch.inf)


def scores_by_own(read: Read, state: ImageState, captions: Sequence[str], texts: Tensor, excluded: Tensor) -> Scores:
    """Every image read with its own caption and compared with all of the batch (ACT section 3.4 as printed).

    Args:
        read: f(x | C).
        state: B images.
        captions: their captions.
        texts: (B, D) z_txt of the captions.
        excluded: (B, B) bool, true where a pair must not count as wrong: itself, and what means the same.
    """
    images = read(state, [[caption] for caption in captions])
    cosines = images @ texts.T  # (B, B)
    own = torch.arange(len(captions), device=texts.device)
    order = (own[:, None] + own) % len(captions)  # a row's own candidate first
    barred = excluded.gather(1, order) & (order != own[:, None])
    i2t, t2i = (scores.gather(1, order).masked_fill(barred, -torch.inf) for scores in (cosines, cosines.T))
    return i2t, t2i


def scores_by_nearest(
    read: Read,
    state: ImageState,
    captions: Sequence[str],
    texts: Tensor,
    excluded: Tensor,
    count: int,
    *,
    pooled: bool,
    conditioned: bool,
) -> Scores:
    """Every caption against the `count` captions of the batch nearest to it and their images, read as at test time.

    text to image   the candidate images, each read with the caption
    image to text   pooled: the image read once with all candidate captions; otherwise once with each

    Args:
        read: f(x | C).
        state: B images.
        captions: their captions.
        texts: (B, D) z_txt of the captions.
        excluded: (B, B) bool, true where a pair must not count as wrong.
        count: m, the hard negatives.
        pooled: true if an image is read with all its candidate captions at once.
        conditioned: true if texts change the reading of an image; otherwise each is read once.
    """
    own = torch.arange(len(captions), device=texts.device)[:, None]
    nearness, near = (texts @ texts.T).masked_fill(excluded, -torch.inf).topk(min(count, len(captions) - 1), dim=1)
    candidates = torch.cat([own, near], dim=1)  # (B, C)
    barred = torch.cat([torch.zeros_like(own, dtype=torch.bool), nearness == -torch.inf], dim=1)
    owns = own.expand_as(candidates)

    def pairs(image: Tensor, caption: Tensor) -> Tensor:
        """cos(f(x_i | {T_c}), z_txt_c) of (B, C) pairs; each distinct one is read once."""
        if not conditioned:
            return (read(state, [])[image] * texts[caption]).sum(-1)
        both = torch.stack([image.flatten(), caption.flatten()], 1)
        distinct, place = both.unique(dim=0, return_inverse=True)
        images = read(state[distinct[:, 0]], [[captions[number]] for number in distinct[:, 1].tolist()])
        return (images[place].view(*image.shape, -1) * texts[caption]).sum(-1)

    t2i = pairs(candidates, owns)
    if not (pooled and conditioned):
        i2t = pairs(owns, candidates)
    else:
        together = [
            [captions[number] for number, bar in zip(*row, strict=True) if not bar]
            for row in zip(candidates.tolist(), barred.tolist(), strict=True)
        ]
        i2t = (texts[candidates] @ read(state, together).unsqueeze(-1)).squeeze(-1)
    return i2t.masked_fill(barred, -torch.inf), t2i.masked_fill(barred, -torch.inf)
