"""The generated descriptions of training images, by image."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from crosscue.errors import DataError
from crosscue.knowledge.views.from_captions import SOURCE as FROM_CAPTIONS
from crosscue.knowledge.views.from_captions import caption_views
from crosscue.knowledge.views.record import ViewKnowledge

if TYPE_CHECKING:
    from crosscue.data.pairs import Pairs

COUNT = 3
"""Descriptions of an image: as a whole, its background, what is in it."""
MissingViews = Literal["error", "skip"]


class TrainingViews:
    """Image id -> three descriptions, read when training begins: a trained run needs the file no more.

    The source `captions` is no file: descriptions are taken from the images' own captions, without a model.
    """

    def __init__(self, source: str, missing: MissingViews) -> None:
        self.source, self.missing = source, missing
        self.texts: list[str] = []
        """All descriptions of the training images, once they are prepared."""

    def prepare(self, train: Pairs) -> dict[str, Any]:
        """Reads or makes the descriptions of all training images, and returns what a run records of them.

        Raises:
            DataError: the file cannot be used, or lacks images and `missing` is error.
        """
        names = [pair.image_id for pair in train]
        if self.source == FROM_CAPTIONS:
            self.known = ViewKnowledge(caption_views({pair.image_id: pair.captions for pair in train}))
        lacking = sum(name not in self.known for name in names)
        if self.missing == "error":
            try:
                self.known.require(names)
            except DataError as error:
                raise DataError(
                    f"{self.source}: {error} Or train these with their captions alone: --options.missing_views skip."
                ) from error
        if lacking == len(names):
            raise DataError(
                f"{self.source}: it describes none of the {lacking:,} training images. Its image ids are those of another source: "
                "describe this one: crosscue describe views SOURCE --out FILE.jsonl"
            )
        own = {name: self.known[name] for name in names if name in self.known}
        self.texts = [text for views in own.values() for text in (views.overall, views.background, views.entity)]
        used = ViewKnowledge(own)
        return {
            "views": self.source,
            "views_fingerprint": used.fingerprint(),
            "images_without_views": lacking,
            "views_that_are_the_first_caption": used.repeated(),
        }

    @cached_property
    def known(self) -> ViewKnowledge:
        """The descriptions; a file is read on first use."""
        return ViewKnowledge({}) if self.source == FROM_CAPTIONS else ViewKnowledge.load(self.source)

    def of(self, image_ids: Sequence[str], captions: Sequence[str]) -> list[tuple[str, str, str] | None]:
        """Returns (whole, background, things) of each image of a batch; None where it has none.

        Raises:
            DataError: some have none and `missing` is error.
        """
        found: list[tuple[str, str, str] | None] = []
        for name, caption in zip(image_ids, captions, strict=True):
            views = self.known.get(name)
            if views is None and self.source == FROM_CAPTIONS:
                views = caption_views({name: [caption]})[name]
            found.append(None if views is None else (views.overall, views.background, views.entity))
        if self.missing == "error" and None in found:
            self.known.require(image_ids)
        return found
