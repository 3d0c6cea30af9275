"""Coverage of a file of action knowledge, its writers, and the disagreement of two files."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from crosscue.errors import DataError
from crosscue.knowledge.actions.record import CaptionKnowledge, Triplet


@dataclass(frozen=True)
class ActionsAudit:
    """Counts over the captions of one file."""

    captions: int
    with_action: int
    """Captions with an action triplet: a deed, or a relation between two things."""
    with_deed: int
    """Captions with an action triplet whose action is a verb, not a preposition alone."""
    null: int
    """Captions without knowledge: no triplet, another language, or no usable reply of a model."""
    actions: int
    attributes: int
    sources: Mapping[str, int]
    """Writer -> captions. `<model>+templates`: triplets of the model, states of the templates."""

    @property
    def coverage(self) -> float:
        """Share of the captions with an action triplet."""
        return self.with_action / max(self.captions, 1)

    @property
    def fallback_rate(self) -> float:
        """Share of the captions with triplets of a model and states of the templates."""
        return sum(count for source, count in self.sources.items() if "+" in source) / max(self.captions, 1)

    def summary(self) -> str:
        """Returns the counts in one line."""
        mean = (self.actions + self.attributes) / max(self.captions, 1)
        return (
            f"{self.captions:,} captions, {self.coverage:.1%} with an action triplet ({self.with_deed / max(self.captions, 1):.1%} with "
            f"a verb), {mean:.2f} triplets a caption ({self.actions / max(self.captions, 1):.2f} actions), {self.null:,} ({self.null / max(self.captions, 1):.1%}) with null "
            f"knowledge, {self.fallback_rate:.1%} with template states in place of a model's"
        )

    def lines(self) -> list[str]:
        """Returns the summary, and one line for each source."""
        by_source = sorted(self.sources.items(), key=lambda item: (-item[1], item[0]))
        return [
            self.summary(),
            *(f"  {source}: {count:,} ({count / max(self.captions, 1):.1%})" for source, count in by_source),
        ]


@dataclass(frozen=True)
class Disagreement:
    """Difference of two files on the captions of both."""

    captions: int
    equal: int
    """Captions with the same triplets in both."""
    jaccard: float
    """Mean over captions of common triplets / all triplets; two empty sets agree."""
    most: tuple[str, ...]
    """Captions with the largest differences."""

    def lines(self) -> list[str]:
        """Returns the counts in words."""
        return [
            f"{self.captions:,} captions in both: {self.equal / max(self.captions, 1):.1%} with equal triplets, disagreement "
            f"{1 - self.jaccard:.3f} (1 - mean of common / all triplets)"
        ]


def audited(knowledge: Mapping[str, CaptionKnowledge]) -> ActionsAudit:
    """Returns the counts of a file."""
    known = list(knowledge.values())
    return ActionsAudit(
        captions=len(known),
        with_action=sum(bool(each.actions) for each in known),
        with_deed=sum(bool(each.deeds) for each in known),
        null=sum(not each.triplets for each in known),
        actions=sum(len(each.actions) for each in known),
        attributes=sum(len(each.triplets) - len(each.actions) for each in known),
        sources=dict(Counter(each.source for each in known)),
    )


def disagreement(
    one: Mapping[str, CaptionKnowledge], two: Mapping[str, CaptionKnowledge], show: int = 3
) -> Disagreement:
    """Returns the difference of two files.

    Raises:
        DataError: the files have no caption in common.
    """
    shared = [caption for caption in one if caption in two]
    if not shared:
        raise DataError(
            "the two files have no caption in common, so there is nothing to compare. Give files of one source."
        )
    overlaps = {caption: _jaccard(one[caption].triplets, two[caption].triplets) for caption in shared}
    ordered = sorted(shared, key=lambda caption: (overlaps[caption], _chance(caption)))
    return Disagreement(
        captions=len(shared),
        equal=sum(overlap == 1 for overlap in overlaps.values()),
        jaccard=sum(overlaps.values()) / len(shared),
        most=tuple(ordered[:show]),
    )


def samples(knowledge: Mapping[str, CaptionKnowledge], count: int) -> list[str]:
    """Returns a sample of captions, drawn by a hash of their text, so equal on every machine."""
    return sorted(knowledge, key=_chance)[:count]


def shown(caption: str, knowledge: CaptionKnowledge) -> list[str]:
    """Returns a caption and its knowledge, one line for each triplet."""
    lines = [f"{caption}  [{knowledge.source}]"]
    for triplet, state in zip(knowledge.triplets, knowledge.states, strict=True):
        lines.append(f"  ({triplet.subject}, {triplet.action}, {triplet.object}): {state}")
    return lines


def _jaccard(one: tuple[Triplet, ...], two: tuple[Triplet, ...]) -> float:
    either = set(one) | set(two)
    return len(set(one) & set(two)) / len(either) if either else 1.0


def _chance(caption: str) -> bytes:
    return hashlib.sha256(caption.encode()).digest()
