"""What is known about one picture on its way to a caption."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from crosscue.data.pairs import Negative


class Draft(BaseModel):
    """A first caption."""

    model_config = ConfigDict(frozen=True)

    template: str
    """Name of the question that was asked."""
    text: str
    model: str


class Round(BaseModel):
    """One judgement of one text."""

    model_config = ConfigDict(frozen=True)

    judge: str
    text: str
    """The caption that was judged."""
    faithfulness: int
    coverage: int
    fluency: int
    hallucinations: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    outcome: str
    """`accepted`, `revised`, or why the revision was rejected."""

    @property
    def score(self) -> int:
        """The smallest of the three scores."""
        return min(self.faithfulness, self.coverage, self.fluency)


class CaptionRecord(BaseModel):
    """One picture and its caption, as a stage left it."""

    model_config = ConfigDict(frozen=True)

    id: str
    dataset: str
    split: str | None = None
    image_path: str
    """Path of the picture, from the output folder."""
    image_sha256: str
    class_name: str | None = None
    """The one surface form of the class; None where the source has no classes."""
    class_aliases: tuple[str, ...] = ()
    """Other names of the same class; a caption that uses one gets `class_name` instead."""
    meta_category: str = "objects"
    """The domain: pets, flowers, cars, ... decides what to look at and which nouns are general."""
    drafts: tuple[Draft, ...] = ()
    rounds: tuple[Round, ...] = ()
    caption: str = ""
    n_tokens: int = 0
    negatives: tuple[Negative, ...] = ()
    flags: tuple[str, ...] = ()
    """What a person should look at, sorted."""
    dup_group: str | None = None
    """Shared by captions that stayed equal."""
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
