"""Record of one image on its way to a caption: drafts, judgements, caption, flags."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from crosscue.data.pairs import Negative


class Frozen(BaseModel):
    """A record that cannot be changed."""

    model_config = ConfigDict(frozen=True)


class Draft(Frozen):
    """A first caption."""

    template: str
    """Name of the prompt."""
    text: str
    model: str


GOOD = 4
"""Smallest score of a good caption."""


class Round(Frozen):
    """One judgement of one text."""

    judge: str
    text: str
    """The caption that was judged."""
    faithfulness: int
    coverage: int
    fluency: int
    hallucinations: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    outcome: str
    """`accepted`, `revised`, or the reason against the revision."""

    @property
    def score(self) -> int:
        """The smallest of the three scores."""
        return min(self.faithfulness, self.coverage, self.fluency)

    @property
    def good(self) -> bool:
        """True for a text that scores at least 4 and contains nothing invented."""
        return self.score >= GOOD and not self.hallucinations


class CaptionRecord(Frozen):
    """One image and its caption after a stage."""

    id: str
    dataset: str
    split: str | None = None
    image_path: str
    """Path of the image, relative to the output folder."""
    image_sha256: str
    class_name: str | None = None
    """Name of the class in captions; None if the source has no classes."""
    class_aliases: tuple[str, ...] = ()
    """Other names of the class. They are replaced by `class_name` in captions."""
    meta_category: str = "objects"
    """Domain: pets, flowers, cars, ... It decides the focus of a caption and the general nouns."""
    drafts: tuple[Draft, ...] = ()
    rounds: tuple[Round, ...] = ()
    caption: str = ""
    n_tokens: int = 0
    negatives: tuple[Negative, ...] = ()
    flags: tuple[str, ...] = ()
    """Reasons for a review by a person, sorted."""
    dup_group: str | None = None
    """Id of the group of equal captions; None for a caption of its own."""
    provenance: dict[str, Any] = Field(default_factory=dict)

    def flagged(self, *flags: str) -> CaptionRecord:
        """Returns the record with more flags."""
        return self.model_copy(update={"flags": tuple(sorted({*self.flags, *flags}))})

    def unflagged(self, *flags: str) -> CaptionRecord:
        """Returns the record with fewer flags."""
        return self.model_copy(update={"flags": tuple(flag for flag in self.flags if flag not in flags)})

    def with_caption(self, caption: str) -> CaptionRecord:
        """Returns the record with another caption."""
        return self.model_copy(update={"caption": caption})
