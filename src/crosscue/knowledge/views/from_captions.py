"""Weaker views without a model: taken apart from the captions a picture has already."""

from __future__ import annotations

from collections.abc import Sequence

from crosscue.knowledge.actions import english
from crosscue.knowledge.actions.record import Triplet
from crosscue.knowledge.actions.rules import rules_triplets
from crosscue.knowledge.views.record import Views

SOURCE = "captions"
WHERE = english.LOCATIVE - frozenset(["with", "without", "like", "before", "after"])


def caption_views(captions: Sequence[str]) -> Views:
    """Returns views that say no more than the captions: all of them as the whole, their places, and their nouns.

    Where the rules find no place or no noun (another language, say) the view is the first caption.
    """
    known = [triplet for caption in captions for triplet in rules_triplets(caption)]
    places = dict.fromkeys(place for triplet in known if (place := _place(triplet)))
    entities = dict.fromkeys(noun for triplet in known for noun in _nouns(triplet) if noun not in places)
    first = " ".join(captions[0].split())
    return Views(
        overall=" ".join(" ".join(caption.split()) for caption in captions),
        background=", ".join(places) or first,
        entity=", ".join(entities) or first,
        source=SOURCE,
    )


def _place(triplet: Triplet) -> str:
    """Returns `snow` of (dogs, playing in, snow): what a preposition of place leads to, unless it is worn or alive."""
    preposition = next((p for p in WHERE if triplet.action == p or triplet.action.endswith(f" {p}")), "")
    last = triplet.object.split()[-1:]
    if triplet.kind == "attribute" or not preposition or not last or last[0] in english.ANIMATE | english.CLOTHING:
        return ""
    return triplet.object


def _nouns(triplet: Triplet) -> tuple[str, ...]:
    return (
        (triplet.subject,) if triplet.kind == "attribute" or not triplet.object else (triplet.subject, triplet.object)
    )
