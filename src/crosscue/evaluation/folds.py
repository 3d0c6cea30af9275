"""Recall in equal parts of a gallery: MSCOCO 1K is the mean over five folds of its 5,000 test images."""

from __future__ import annotations

import itertools
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from crosscue.errors import MethodError
from crosscue.evaluation.ranks import rank_scores
from crosscue.evaluation.recall import Recall, recall, rsum
from crosscue.evaluation.result import Retrieval
from crosscue.retrieval.scores import Scores

COCO_IMAGES, COCO_FOLDS = 5000, 5
"""A gallery of so many images is folded without an option, as MSCOCO's papers do."""


@dataclass(frozen=True)
class Folds:
    """Means over the folds of a gallery."""

    count: int
    images: int
    """Images of the smallest fold."""
    i2t: Recall
    t2i: Recall

    @property
    def rsum(self) -> float:
        """Sum of the six means, at most 600."""
        return rsum(self.i2t, self.t2i)

    def to_dict(self) -> dict[str, Any]:
        """Returns plain types for JSON."""
        return asdict(self) | {"rsum": self.rsum}


class Part:
    """`Scores` of consecutive images and of the captions that belong to them."""

    def __init__(self, whole: Scores, images: slice, captions: slice) -> None:
        self.whole, self.images, self.captions, self.kind = whole, images, captions, whole.kind
        self.image_count, self.caption_count = images.stop - images.start, captions.stop - captions.start

    def own(self, image: Tensor, caption: Tensor) -> tuple[Tensor, Tensor]:
        """See `Scores.own`."""
        return self.whole.own(image + self.images.start, caption + self.captions.start)

    def block(self, images: slice, captions: slice) -> tuple[Tensor, Tensor]:
        """See `Scores.block`."""
        moved = [
            slice(*(place + first for place in part.indices(count)[:2]))
            for part, count, first in (
                (images, self.image_count, self.images.start),
                (captions, self.caption_count, self.captions.start),
            )
        ]
        return self.whole.block(*moved)

    def chosen(self, captions: Tensor) -> Scores:
        """See `Scores.chosen`."""
        return Part(self.whole.chosen(captions + self.captions.start), self.images, slice(0, len(captions)))


def usual_folds(result: Retrieval) -> int | None:
    """Returns the number of folds that papers report for a gallery of this size; None for other sizes and after re-ranking."""
    return COCO_FOLDS if result.protocol["gallery"] == COCO_IMAGES and result.again is None else None


def fold_recalls(result: Retrieval, count: int) -> Folds:
    """Returns the mean recall over `count` folds: consecutive images, each fold a gallery of its own.

    Raises:
        MethodError: the result was re-ranked in the whole gallery, or has fewer images than folds.
    """
    if result.again is not None:
        raise MethodError(
            "--folds needs scores of all pairs, and this result is re-ranked in the whole gallery. Leave --folds or --rerank out."
        )
    images = result.protocol["gallery"]
    if not 2 <= count <= images:
        raise MethodError(f"--folds {count}: give from 2 to {images:,} folds, the images of the gallery.")
    assert result.scores is not None
    owner = torch.from_numpy(result.owner)
    edges = np.linspace(0, images, count + 1).round().astype(int)
    found: list[tuple[Recall, Recall]] = []
    for start, stop in itertools.pairwise(edges.tolist()):
        first, last = torch.searchsorted(owner, torch.tensor([start, stop])).tolist()
        part = Part(result.scores, slice(start, stop), slice(first, last))
        i2t, t2i = rank_scores(part, owner[first:last] - start)
        found.append((recall(i2t), recall(t2i)))
    return Folds(count, int(np.diff(edges).min()), *(_mean([pair[place] for pair in found]) for place in (0, 1)))


def _mean(recalls: list[Recall]) -> Recall:
    return Recall(*(float(np.mean([getattr(one, field.name) for one in recalls])) for field in fields(Recall)))
