"""Weaker views without a model: taken apart from the captions an image has already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from crosscue.knowledge.actions import english
from crosscue.knowledge.actions.parser import parsed_knowledge
from crosscue.knowledge.actions.record import Triplet
from crosscue.knowledge.views.record import Views

SOURCE = "captions"
UNREAD = "unread captions"
"""Source of views that repeat the captions, where a model gave none."""
WHERE = english.LOCATIVE - frozenset(["with", "without", "like", "before", "after"])


def caption_views(captions: Mapping[str, Sequence[str]]) -> dict[str, Views]:
    """Returns image id -> views of an image's captions: all of them as the whole, their places, and their nouns.

    A view is the first caption where spaCy finds no place or no noun (another language, say).

    Raises:
        CrosscueError: spaCy or its English model is not installed.
    """
    read = dict(parsed_knowledge(list(dict.fromkeys(caption for own in captions.values() for caption in own))))
    return {
        image: _views(own, [triplet for caption in own for triplet in read[caption].triplets])
        for image, own in captions.items()
    }


def unread_views(captions: Sequence[str]) -> Views:
    """Returns views that repeat the captions of an image: all of them as the whole, the first one as the others."""
    return Views(_whole(captions), _line(captions[0]), _line(captions[0]), UNREAD)


def _views(captions: Sequence[str], triplets: Sequence[Triplet]) -> Views:
    places = dict.fromkeys(place for triplet in triplets if (place := _place(triplet)))
    entities = dict.fromkeys(noun for triplet in triplets for noun in _nouns(triplet) if noun not in places)
    first = _line(captions[0])
    return Views(_whole(captions), ", ".join(places) or first, ", ".join(entities) or first, SOURCE)


def _whole(captions: Sequence[str]) -> str:
    return " ".join(map(_line, captions))


def _line(caption: str) -> str:
    return " ".join(caption.split())


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
