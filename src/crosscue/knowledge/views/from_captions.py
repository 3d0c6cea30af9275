"""Views without a model, taken from the captions of an image. They are weaker than those of a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from crosscue.knowledge.actions import english
from crosscue.knowledge.actions.parser import parsed_knowledge
from crosscue.knowledge.actions.record import Triplet
from crosscue.knowledge.views.record import Views

SOURCE = "captions"
UNREAD = "unread captions"
"""Source of views that repeat the captions, because a model returned none."""
WHERE = english.LOCATIVE - frozenset(["with", "without", "like", "before", "after"])


def caption_views(captions: Mapping[str, Sequence[str]]) -> dict[str, Views]:
    """Returns image id -> views: all captions as the whole, their places as the background, their nouns as the entities.

    If spaCy finds no place or no noun, as in another language, that view is the first caption and `Views.repeated` has its key.

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
    repeated = tuple(key for key, found in (("background", places), ("entity", entities)) if not found)
    return Views(_whole(captions), ", ".join(places) or first, ", ".join(entities) or first, SOURCE, repeated)


def _whole(captions: Sequence[str]) -> str:
    return " ".join(map(_line, captions))


def _line(caption: str) -> str:
    return " ".join(caption.split())


def _place(triplet: Triplet) -> str:
    """Returns the place of a triplet, as `snow` of (dogs, playing in, snow). Clothes and living beings are no places."""
    preposition = next((p for p in WHERE if triplet.action == p or triplet.action.endswith(f" {p}")), "")
    last = triplet.object.split()[-1:]
    if triplet.kind == "attribute" or not preposition or not last or last[0] in english.ANIMATE | english.CLOTHING:
        return ""
    return triplet.object


def _nouns(triplet: Triplet) -> tuple[str, ...]:
    return (
        (triplet.subject,) if triplet.kind == "attribute" or not triplet.object else (triplet.subject, triplet.object)
    )
