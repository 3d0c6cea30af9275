"""Ranks in equal parts of a gallery, each a gallery of its own."""

from __future__ import annotations

import itertools
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from crosscue.evaluation.ranks import Ranking
from crosscue.evaluation.recall import Recall, recall, rsum

if TYPE_CHECKING:
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
        self.narrow = whole.narrow
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


class FoldRanks:
    """Reads the ranks of every fold: consecutive images, each fold a gallery of its own; see `Reader`."""

    def __init__(self, owner: Tensor, count: int) -> None:
        """Takes the image of each caption (M,), ascending, and the number of folds."""
        self.count, self.images = count, int(owner[-1]) + 1
        edges = np.linspace(0, self.images, count + 1).round().astype(int)
        self.smallest = int(np.diff(edges).min())
        first = torch.searchsorted(owner, torch.from_numpy(edges)).tolist()
        self.folds = [
            (
                slice(*images),
                slice(*captions),
                Ranking(owner[slice(*captions)] - images[0], torch.arange(captions[1] - captions[0])),
            )
            for images, captions in zip(itertools.pairwise(edges.tolist()), itertools.pairwise(first), strict=True)
        ]

    def start(self, scores: Scores) -> None:
        """See `Reader.start`."""
        for images, captions, ranking in self.folds:
            ranking.start(Part(scores, images, captions))

    def read(self, i2t: Tensor, t2i: Tensor, images: slice, captions: slice) -> None:
        """See `Reader.read`."""
        for fold_images, fold_captions, ranking in self.folds:
            (rows, own_rows), (columns, own_columns) = _common(images, fold_images), _common(captions, fold_captions)
            if rows.start < rows.stop and columns.start < columns.stop:
                ranking.read(i2t[rows, columns], t2i[rows, columns], own_rows, own_columns)

    def recalls(self) -> Folds:
        """Returns the mean recall over the folds."""
        found = [tuple(map(recall, ranking.ranks())) for _, _, ranking in self.folds]
        return Folds(self.count, self.smallest, *(_mean(list(one)) for one in zip(*found, strict=True)))


def usual_count(images: int) -> int | None:
    """Returns the number of folds that papers report for a gallery of so many images; None for other sizes."""
    return COCO_FOLDS if images == COCO_IMAGES else None


def _common(tile: slice, fold: slice) -> tuple[slice, slice]:
    """Returns the part of a tile that lies in a fold, counted from the start of the tile and from that of the fold."""
    start, stop = max(tile.start, fold.start), min(tile.stop, fold.stop)
    return slice(start - tile.start, stop - tile.start), slice(start - fold.start, stop - fold.start)


def _mean(recalls: list[Recall]) -> Recall:
    return Recall(*(float(np.mean([getattr(one, field.name) for one in recalls])) for field in fields(Recall)))
