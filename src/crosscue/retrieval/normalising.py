"""Correction of hubness: a candidate that is near to every query loses what it scores on average.

Query-bank normalisation (Bogolin et al., CVPR 2022), an inverted softmax over a bank of training queries:

    score'_ij = s_ij - (1 / beta) log mean_b exp(beta s_bj)        b: bank queries of the same direction

It needs no pairing, no gradient and no test query. `dynamic` corrects only the queries whose first candidate is also the
first candidate of a bank query; the others keep their scores.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from crosscue.errors import MethodError
from crosscue.retrieval.late_scores import LateScores
from crosscue.retrieval.scores import Cosines, Scores

Correction = Literal["bank", "dynamic"]
BETA = 20.0
"""Sharpness of the mean over the bank (beta), where no validation pairs choose it."""
BLOCK = 256
"""Rows of scores computed at once."""


@dataclass(frozen=True)
class Hubs:
    """The correction of every candidate of one direction."""

    bias: Tensor
    """(C,) amount that is subtracted from every score of a candidate."""
    first: Tensor
    """(C,) bool: candidates that are the first of at least one bank query."""


def hubs_of_images(bank: Scores, beta: float) -> Hubs:
    """Returns the correction of N images from their scores with bank captions (direction text to image).

    Raises:
        MethodError: beta is not positive, or the bank is empty.
    """
    require_bank(bank.caption_count, beta, "captions", "text to image")
    total = torch.full((bank.image_count,), -torch.inf)
    best, winner = torch.full((bank.caption_count,), -torch.inf), torch.zeros(bank.caption_count, dtype=torch.int64)
    for start in range(0, bank.image_count, BLOCK):
        rows = slice(start, min(start + BLOCK, bank.image_count))
        scores = bank.block(rows, slice(0, bank.caption_count))[1]  # (b, captions of the bank)
        total[rows] = (beta * scores).logsumexp(1)
        highest, place = scores.max(0)
        ahead = highest > best
        best[ahead], winner[ahead] = highest[ahead], place[ahead] + start
    return Hubs((total - math.log(bank.caption_count)) / beta, _members(winner, bank.image_count))


def hubs_of_captions(bank: Scores, beta: float) -> Hubs:
    """Returns the correction of M captions from their scores with bank images (direction image to text).

    Raises:
        MethodError: beta is not positive, or the bank is empty.
    """
    require_bank(bank.image_count, beta, "images", "image to text")
    total, winners = torch.full((bank.caption_count,), -torch.inf), []
    for start in range(0, bank.image_count, BLOCK):
        rows = slice(start, min(start + BLOCK, bank.image_count))
        scores = bank.block(rows, slice(0, bank.caption_count))[0]  # (b, M)
        total = torch.logaddexp(total, (beta * scores).logsumexp(0))
        winners.append(scores.argmax(1))
    return Hubs((total - math.log(bank.image_count)) / beta, _members(torch.cat(winners), bank.caption_count))


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
        MethodError: beta is not positive, or the bank has no queries of a direction.
    """
    images = hubs_of_images(crossed(scores, bank), beta)
    return Normalised(scores, images, hubs_of_captions(crossed(bank, scores), beta), mode)


class Normalised:
    """Scores of a gallery, corrected for hubness in both directions; see `Scores`."""

    def __init__(self, scores: Scores, images: Hubs, captions: Hubs, mode: Correction = "bank") -> None:
        """Takes the plain scores of N images and M captions, and the corrections of both as candidates."""
        self.scores, self.hubs = scores, (images, captions)
        self.image_count, self.caption_count = scores.image_count, scores.caption_count
        self.kind = f"{scores.kind}, normalised by a bank of training queries ({mode})"
        self.mode = mode
        self.from_image = torch.ones(self.image_count)  # (N,) 1 where the query is corrected
        self.from_caption = torch.ones(self.caption_count)  # (M,)
        if mode == "dynamic":
            self.from_image, self.from_caption = self._corrected_queries()

    def own(self, image: Tensor, caption: Tensor) -> tuple[Tensor, Tensor]:
        """See `Scores.own`."""
        i2t, t2i = self.scores.own(image, caption)
        images, captions = self.hubs
        return (
            i2t - self.from_image[image] * captions.bias[caption],
            t2i - self.from_caption[caption] * images.bias[image],
        )

    def block(self, images: slice, captions: slice) -> tuple[Tensor, Tensor]:
        """See `Scores.block`."""
        i2t, t2i = self.scores.block(images, captions)
        of_images, of_captions = self.hubs
        return (
            i2t - self.from_image[images, None] * of_captions.bias[captions],
            t2i - of_images.bias[images, None] * self.from_caption[captions],
        )

    def chosen(self, captions: Tensor) -> Normalised:
        """See `Scores.chosen`."""
        images, own = self.hubs
        part = Normalised(self.scores.chosen(captions), images, Hubs(own.bias[captions], own.first[captions]))
        part.mode, part.kind = self.mode, self.kind
        part.from_image, part.from_caption = self.from_image, self.from_caption[captions]
        return part

    def _corrected_queries(self) -> tuple[Tensor, Tensor]:
        """Returns 1 for the queries whose first candidate is a first candidate of the bank, else 0: (N,) and (M,)."""
        images, captions = self.hubs
        from_image, everything = torch.zeros(self.image_count), slice(0, self.caption_count)
        best, winner = torch.full((self.caption_count,), -torch.inf), torch.zeros(self.caption_count, dtype=torch.int64)
        for start in range(0, self.image_count, BLOCK):
            rows = slice(start, min(start + BLOCK, self.image_count))
            i2t, t2i = self.scores.block(rows, everything)
            from_image[rows] = captions.first[i2t.argmax(1)].float()
            highest, place = t2i.max(0)
            ahead = highest > best
            best[ahead], winner[ahead] = highest[ahead], place[ahead] + start
        return from_image, images.first[winner].float()


def require_bank(size: int, beta: float, queries: str, direction: str) -> None:
    """Raises `MethodError` where a bank has no query of a direction, or beta is not positive."""
    if not size:
        raise MethodError(
            f"the bank has no {queries}, so {direction} cannot be normalised. Give training pairs with --bank SOURCE, "
            "or leave --normalise out."
        )
    if not beta > 0:
        raise MethodError(f"beta is {beta:g}; it must be above 0, such as --beta 20.")


def _members(winners: Tensor, count: int) -> Tensor:
    """Returns (count,) bool, true at the indices that occur in `winners`."""
    flags = torch.zeros(count, dtype=torch.bool)
    flags[winners] = True
    return flags
