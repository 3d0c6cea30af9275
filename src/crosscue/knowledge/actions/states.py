"""Visual states of actions without a model: templates for each class of verbs."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from crosscue.knowledge.actions import english
from crosscue.knowledge.actions.record import Triplet

TEMPLATES: dict[str, tuple[str, ...]] = {
    "locomotion": (
        "the {s} {a} {o}, the whole body caught in the middle of the motion",
        "the {s} {a} {o}, limbs apart and weight shifted forward while moving",
    ),
    "posture": (
        "the {s} {a} {o}, the body keeping still, its weight resting in place",
        "the {s} {a} {o}, holding one position with the body at rest",
    ),
    "manipulation": (
        "the {s} {a} {o}, reaching out, in contact with what is handled",
        "the {s} {a} {o}, attention and limbs turned to what is handled",
    ),
    "ingestion": ("the {s} {a} {o}, head lowered, mouth close to what is taken in",),
    "looking": (
        "the {s} {a} {o}, head turned and eyes fixed in one direction",
        "the {s} {a} {o}, the face directed at what is being seen",
    ),
    "expression": ("the {s} {a} {o}, which shows in the lively face",),
    "sport": (
        "the {s} {a} {o}, the body tense and balanced in a quick move",
        "the {s} {a} {o}, limbs spread in the effort of the move",
    ),
    "vehicle": ("the {s} {a} {o}, seated or standing in control while moving along",),
    "contact": ("the {s} {a} {o}, so close that the bodies visibly touch",),
    "wearing": ("the {s} {a} {o}, which covers part of the body in plain view",),
    "other": (
        "the {s} visibly {a} {o}, as can be seen at this moment",
        "the {s} plainly seen {a} {o}, in the middle of what happens",
    ),
    "relation": (
        "the {s} visibly {a} {o}, both seen together in one place",
        "the {s} seen {a} {o}, the two in view side by side",
    ),
    "attribute": (
        "the {s} visibly {o}, which sets it apart from what is around",
        "the {s} looking {o} at first sight, all over what can be seen",
    ),
}
"""Class of verbs -> templates, which give 8 to 30 words around any triplet of at most 6 words a slot."""


def template_states(triplets: Sequence[Triplet]) -> tuple[str, ...]:
    """Returns one state a triplet. The choice among the templates of a class follows from the triplet alone."""
    return tuple(template_state(triplet) for triplet in triplets)


def template_state(triplet: Triplet) -> str:
    """Returns the state of one triplet."""
    templates = TEMPLATES[state_class(triplet)]
    material = "\x1f".join((triplet.subject, triplet.action, triplet.object)).encode()
    chosen = templates[hashlib.sha256(material).digest()[0] % len(templates)]
    verb, *rest = triplet.action.split()
    verb = english.gerund(verb) if english.base_of(verb) == verb else verb
    thing = triplet.object if triplet.kind == "attribute" or not triplet.object else f"the {triplet.object}"
    filled = chosen.format(s=triplet.subject, a=" ".join((verb, *rest)), o=thing)
    return " ".join(filled.split()).replace(" ,", ",")


def state_class(triplet: Triplet) -> str:
    """Returns the class whose templates fit a triplet."""
    if triplet.kind == "attribute":
        return "attribute"
    verb = triplet.action.split()[0]
    if triplet.object and (triplet.action in english.PREPOSITIONS or verb in english.PREPOSITIONS):
        return "relation"
    found = english.verb_class(verb)
    return found if found in TEMPLATES else "other"
