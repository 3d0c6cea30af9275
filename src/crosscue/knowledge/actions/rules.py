"""Action triplets from an English caption without a model: word classes, noun chunks and word order. Deterministic.

An approximation of parsing, good at the plain present tense of captions. What the rules do not understand they leave out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from crosscue.knowledge.actions.chunks import Chunk
from crosscue.knowledge.actions.language import is_english
from crosscue.knowledge.actions.reading import Reading
from crosscue.knowledge.actions.record import ActionKnowledge, CaptionKnowledge, Triplet
from crosscue.knowledge.actions.states import template_states
from crosscue.knowledge.actions.tagging import tagged
from crosscue.knowledge.actions.validation import MOST, deduplicated

SENTENCE = re.compile(r"[.!?]+(?:\s+|$)")


def rules_knowledge(captions: Iterable[str]) -> ActionKnowledge:
    """Returns what the rules find in each caption, with template states; `null` where they find nothing."""
    return ActionKnowledge({caption: caption_knowledge(caption) for caption in dict.fromkeys(captions)})


def caption_knowledge(caption: str) -> CaptionKnowledge:
    """Returns one caption's knowledge; `null` for a caption that is not English."""
    triplets = rules_triplets(caption)
    return CaptionKnowledge(triplets, template_states(triplets), "rules") if triplets else CaptionKnowledge()


def rules_triplets(caption: str) -> tuple[Triplet, ...]:
    """Returns at most 8 triplets: actions in the order of the caption, then relations, then attributes."""
    if not is_english(caption):
        return ()
    actions: list[Triplet] = []
    relations: list[Triplet] = []
    attributes: list[Triplet] = []
    subject: Chunk | None = None
    for sentence in SENTENCE.split(caption):
        reading = Reading(tagged(sentence), subject)
        reading.read()
        actions += reading.actions
        relations += reading.relations
        attributes += reading.attributes
        subject = reading.main or subject
    return deduplicated((*actions, *relations, *attributes))[:MOST]
