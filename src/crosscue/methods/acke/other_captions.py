"""Captions of an image as descriptions for each other: content that the caption of a step does not have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from crosscue.errors import DataError
from crosscue.methods.acke.descriptions import COUNT, MissingViews, TrainingViews

if TYPE_CHECKING:
    from crosscue.data.pairs import Pairs

SOURCE = "other_captions"


class OtherCaptions(TrainingViews):
    """Image id -> its captions; the caption that a step trains with is never among its own descriptions."""

    def __init__(self, missing: MissingViews) -> None:
        super().__init__(SOURCE, missing)
        self.captions: dict[str, dict[str, str]] = {}
        """Image id -> captions by `wording`."""

    def prepare(self, train: Pairs) -> dict[str, Any]:
        """Reads the captions of all training images, and returns what a run records of them.

        Raises:
            DataError: no image has two captions; or some have not, and `missing` is error.
        """
        self.captions = {}
        for pair in train:
            self.captions.setdefault(pair.image_id, {}).update({wording(text): text for text in pair.captions})
        alone = [name for name, own in self.captions.items() if len(own) < 2]
        if alone and (self.missing == "error" or len(alone) == len(self.captions)):
            raise DataError(
                f"{len(alone):,} of {len(self.captions):,} training images have no second caption, such as '{alone[0]}', so "
                f"views {SOURCE} has no description of them. Use --options.views captions, or train these with their caption "
                "alone: --options.missing_views skip."
            )
        return {"views": SOURCE, "images_without_views": len(alone)}

    def of(self, image_ids: Sequence[str], captions: Sequence[str]) -> list[tuple[str, str, str] | None]:
        """Returns three drawn captions of each image, none of them its own of this batch; None where there is no other.

        They repeat if there are fewer than three.
        """
        found: list[tuple[str, str, str] | None] = []
        for name, caption in zip(image_ids, captions, strict=True):
            others = [text for key, text in self.captions.get(name, {}).items() if key != wording(caption)]
            order = torch.randperm(len(others)).tolist()
            drawn = [others[order[place % len(order)]] for place in range(COUNT)] if others else None
            found.append(None if drawn is None else (drawn[0], drawn[1], drawn[2]))
        return found


def wording(caption: str) -> str:
    """Returns a caption without case and spaces, by which repetitions of it are recognised."""
    return "".join(caption.casefold().split())


def training_views(source: str, missing: MissingViews) -> TrainingViews:
    """Returns the descriptions of `source`: `other_captions`, `captions`, or a file."""
    return OtherCaptions(missing) if source == SOURCE else TrainingViews(source, missing)
