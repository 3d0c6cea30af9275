"""Correction of hubness: a candidate that is near to every query loses what it scores on average.

Query-bank normalisation (Bogolin et al., CVPR 2022), an inverted softmax over a bank of training queries:

    score'_ij = s_ij - (1 / beta) log mean_b exp(beta s_bj)        b: bank queries of the same direction

It needs no pairing, no gradient and no test query. `dynamic` corrects only the queries whose first candidate is also the
first candidate of a bank query; the others keep their scores.

Dual bank normalisation (Wang et al., EMNLP 2023) has a second bank, of training items of the candidates' own modality. DualIS is the
product of both softmaxes, whose order over candidates is that of

    s''_ij = s_ij - 1/2 (1 / beta) [log mean_b exp(beta s_bj) + log mean_g exp(beta s_gj)]        g: bank items of the gallery's kind

with one beta for both banks. `dual_dynamic` (DualDIS) uses each bank only for the queries whose first candidate is the first of one of its items.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from crosscue.errors import MethodError
from crosscue.retrieval.firsts import firsts
from crosscue.retrieval.late_scores import LateScores
from crosscue.retrieval.scores import Cosines, Scores

Correction = Literal["bank", "dynamic", "dual", "dual_dynamic"]
BETA = 20.0
"""Sharpness of the mean over the bank (beta), where no validation pairs choose it."""
BLOCK = 256
"""Rows of scores computed at once."""


def bias_of_images(bank: Scores, beta: float) -> Tensor:
    """Returns (N,) the correction of images from their scores with bank captions (direction text to image).

    Raises:
        MethodError: beta is not finite and positive, or the bank is empty.
    """
    require_bank(bank.caption_count, beta, "captions", "text to image")
    everything = slice(0, bank.caption_count)
    total = torch.cat([(beta * bank.block(rows, everything)[1]).logsumexp(1) for rows in _blocks(bank)])
    return (total - math.log(bank.caption_count)) / beta


def bias_of_captions(bank: Scores, beta: float) -> Tensor:
    """Returns (M,) the correction of captions from their scores with bank images (direction image to text).

    Raises:
        MethodError: beta is not finite and positive, or the bank is empty.
    """
    require_bank(bank.image_count, beta, "images", "image to text")
    everything = slice(0, bank.caption_count)
    total = torch.full((bank.caption_count,), -torch.inf)
    for rows in _blocks(bank):
        total = torch.logaddexp(total, (beta * bank.block(rows, everything)[0]).logsumexp(0))
    return (total - math.log(bank.image_count)) / beta


def crossed(images_of: Scores, captions_of: Scores) -> Scores:
    """Returns the scores of the images of one with the captions of another; both come from one method."""
    if isinstance(images_of, Cosines) and isinstance(captions_of, Cosines):
        return Cosines(images_of.images, captions_of.texts)
    if isinstance(images_of, LateScores) and isinstance(captions_of, LateScores):
        return LateScores(images_of.method, images_of.images, captions_of.texts, captions_of.row, images_of.device)
    raise TypeError(f"{type(images_of).__name__} and {type(captions_of).__name__} cannot be crossed")


def normalised(scores: Scores, bank: Scores, beta: float, mode: Correction) -> Normalised:
    """Returns scores corrected by a bank, which is the scores of training images with training captions.

    Raises:
        MethodError: beta is not positive, the bank has no items of a modality, or scores without vectors have no second bank.
    """
    queries = crossed(scores, bank), crossed(bank, scores)
    if not mode.startswith("dual"):
        return corrected(scores, *queries, beta, mode)
    gallery, met = gallery_banks(scores, bank), firsts(scores) if mode == "dual_dynamic" else None
    once = corrected(scores, *queries, beta, mode, met, share=0.5)
    return replace(corrected(once, *gallery, beta, mode, met, share=0.5), kind=once.kind)


def corrected(
    scores: Scores,
    of_images: Scores,
    of_captions: Scores,
    beta: float,
    mode: Correction = "bank",
    met: tuple[Tensor, Tensor] | None = None,
    share: float = 1.0,
) -> Normalised:
    """Returns scores corrected by those of the images with one side of a bank, and of the other side with the captions.

    Args:
        scores: scores of a gallery.
        of_images: its images with bank captions, or with bank images.
        of_captions: bank images with its captions, or bank captions.
        beta: sharpness of the mean.
        mode: queries that are corrected.
        met: the first candidates of plain scores; default those of `scores`.
        share: part of the correction.

    Raises:
        MethodError: beta is not finite and positive, or the bank has no queries of a direction.
    """
    image_bias, caption_bias = share * bias_of_images(of_images, beta), share * bias_of_captions(of_captions, beta)
    from_image, from_caption = torch.ones(scores.image_count), torch.ones(scores.caption_count)
    if mode in ("dynamic", "dual_dynamic"):
        first_captions, first_images = met or firsts(scores)
        from_image = torch.isin(first_captions, firsts(of_captions)[0]).float()
        from_caption = torch.isin(first_images, firsts(of_images)[1]).float()
    kind = f"{scores.kind}, normalised by a bank of training queries ({mode})"
    return Normalised(scores, image_bias, caption_bias, from_image, from_caption, kind)


def gallery_banks(scores: Scores, bank: Scores) -> tuple[Scores, Scores]:
    """Returns the scores of the images with bank images, and of bank captions with the captions; see `corrected`."""
    if not isinstance(scores, Cosines) or not isinstance(bank, Cosines):
        raise MethodError("a bank of the gallery's kind needs one vector an image and a text. Use --normalise bank.")
    return Cosines(scores.images, bank.images), Cosines(bank.texts, scores.texts)


@dataclass(frozen=True)
class Normalised:
    """Scores of a gallery, corrected for hubness in both directions; see `Scores`."""

    scores: Scores
    """Plain scores of N images and M captions."""
    image_bias: Tensor
    """(N,) amount that is subtracted from an image as a candidate."""
    caption_bias: Tensor
    """(M,) the same of a caption."""
    from_image: Tensor
    """(N,) 1 if an image is corrected as a query, else 0."""
    from_caption: Tensor
    """(M,) the same of a caption."""
    kind: str

    @property
    def image_count(self) -> int:
        """N."""
        return self.scores.image_count

    @property
    def caption_count(self) -> int:
        """M."""
        return self.scores.caption_count

    @property
    def narrow(self) -> bool:
        """See `Scores.narrow`."""
        return self.scores.narrow

    def own(self, image: Tensor, caption: Tensor) -> tuple[Tensor, Tensor]:
        """See `Scores.own`."""
        i2t, t2i = self.scores.own(image, caption)
        return (
            i2t - self.from_image[image] * self.caption_bias[caption],
            t2i - self.from_caption[caption] * self.image_bias[image],
        )

    def block(self, images: slice, captions: slice) -> tuple[Tensor, Tensor]:
        """See `Scores.block`."""
        i2t, t2i = self.scores.block(images, captions)
        return (
            i2t - self.from_image[images, None] * self.caption_bias[captions],
            t2i - self.image_bias[images, None] * self.from_caption[captions],
        )


def require_bank(size: int, beta: float, queries: str, direction: str) -> None:
    """Raises `MethodError` where a bank has no query of a direction, or beta is not finite and positive."""
    if not size:
        raise MethodError(
            f"the bank has no {queries}, so {direction} cannot be normalised. Give training pairs with --bank SOURCE, "
            "or leave --normalise out."
        )
    require_beta(beta)


def require_beta(beta: float) -> None:
    """Raises `MethodError` where beta is not finite and positive."""
    if not 0 < beta < math.inf:
        raise MethodError(f"beta is {beta:g}; it must be finite and above 0, such as --beta 20.")


def _blocks(scores: Scores) -> list[slice]:
    """Returns the images of scores in blocks."""
    return [slice(start, min(start + BLOCK, scores.image_count)) for start in range(0, scores.image_count, BLOCK)]
