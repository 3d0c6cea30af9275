"""Prompts for triplets and states, with our own examples. A change of one makes all captions new again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from crosscue.knowledge.actions.record import Triplet
from crosscue.knowledge.conversation import Turn
from crosscue.knowledge.endpoint import Endpoint

TRIPLETS_SYSTEM = (
    "You extract triplets (s, a, o) from captions. Extract only what a caption states. Write lower case. s is who or what acts, "
    "without article; a is the verb as a base or -ing form with its preposition, or a preposition; o is what it acts on or where it "
    'happens, "" if there is nothing. kind is "action" for deeds and for relations between things, "attribute" for (noun, is, '
    "adjective). In a passive the agent becomes s. Most salient first, at most 8 a caption. Never use a word for s or o that "
    "is not in the caption. Answer with one JSON object and nothing else."
)

TRIPLETS_EXAMPLES: tuple[tuple[str, tuple[Triplet, ...]], ...] = (
    (
        "A young potter shapes a clay bowl.",
        (
            Triplet("potter", "shape", "clay bowl"),
            Triplet("potter", "is", "young", "attribute"),
        ),
    ),
    ("Two goats are dozing in the shade.", (Triplet("goats", "dozing in", "shade"),)),
    (
        "A lamp with a green shade beside a window",
        (
            Triplet("lamp", "with", "shade"),
            Triplet("lamp", "beside", "window"),
            Triplet("shade", "is", "green", "attribute"),
        ),
    ),
    (
        "A kite was caught by a tall girl.",
        (Triplet("girl", "catch", "kite"), Triplet("girl", "is", "tall", "attribute")),
    ),
    (
        "A violinist and a cellist perform while a child claps.",
        (Triplet("violinist", "perform"), Triplet("cellist", "perform"), Triplet("child", "clap")),
    ),
    (
        "An empty wooden bench.",
        (Triplet("bench", "is", "empty", "attribute"), Triplet("bench", "is", "wooden", "attribute")),
    ),
)
"""Examples: transitive, intransitive with a place, prepositions, passive, several actors, no verb."""

STATES_SYSTEM = (
    "You describe how actions look. For each numbered triplet of a caption write one description of 8 to 30 words: only visible "
    "pose, motion, contact or consequence. Name no person, animal or thing that the caption does not name, no names, no feelings "
    "unless the caption implies them. Exactly one description a triplet. Answer with one JSON object and nothing else."
)

STATES_EXAMPLES: tuple[tuple[str, tuple[Triplet, ...], tuple[str, ...]], ...] = (
    (
        "A diver leaps from a cliff.",
        (Triplet("diver", "leap from", "cliff"),),
        ("body stretched out in mid-air, feet off the rock, arms spread as the fall begins",),
    ),
    (
        "A woman kneads dough on a floured table.",
        (Triplet("woman", "knead", "dough"), Triplet("table", "is", "floured", "attribute")),
        (
            "both hands pressed into the soft mass, shoulders leaning forward, the dough flattened under the palms",
            "a thin white layer lies over the flat surface, with traces where it was touched",
        ),
    ),
    (
        "A cart is loaded with hay.",
        (Triplet("cart", "loaded with", "hay"),),
        ("piled high above its sides, dry stalks hanging over the edges and pressing down on it",),
    ),
)


def triplets_question(captions: Mapping[int, str]) -> tuple[Turn, ...]:
    """Returns the conversation about the triplets of numbered captions."""
    given = {number: caption for number, (caption, _) in enumerate(TRIPLETS_EXAMPLES, 1)}
    answered = [
        {"id": number, "triplets": [triplet.to_dict() for triplet in triplets]}
        for number, (_, triplets) in enumerate(TRIPLETS_EXAMPLES, 1)
    ]
    return _conversation(TRIPLETS_SYSTEM, _numbered(given), answered, _numbered(captions))


def states_question(known: Mapping[int, tuple[str, Sequence[Triplet]]]) -> tuple[Turn, ...]:
    """Returns the conversation about the states of numbered captions, one for each triplet."""
    given = {number: (caption, triplets) for number, (caption, triplets, _) in enumerate(STATES_EXAMPLES, 1)}
    answered = [
        {"id": number, "states": [{"i": i, "text": text} for i, text in enumerate(states, 1)]}
        for number, (_, _, states) in enumerate(STATES_EXAMPLES, 1)
    ]
    return _conversation(STATES_SYSTEM, _with_triplets(given), answered, _with_triplets(known))


def _conversation(system: str, example: str, answered: list[dict[str, Any]], question: str) -> tuple[Turn, ...]:
    reply = json.dumps({"captions": answered}, ensure_ascii=False)
    return Turn("system", system), Turn("user", example), Turn("assistant", reply), Turn("user", question)


def _numbered(captions: Mapping[int, str]) -> str:
    return "\n".join(f"id {number}: {' '.join(caption.split())}" for number, caption in captions.items())


def _with_triplets(known: Mapping[int, tuple[str, Sequence[Triplet]]]) -> str:
    return "\n".join(
        f"id {number}: {' '.join(caption.split())}\n"
        + "\n".join(f"  {i}. ({t.subject}, {t.action}, {t.object})" for i, t in enumerate(triplets, 1))
        for number, (caption, triplets) in known.items()
    )


TEMPLATES = (
    TRIPLETS_SYSTEM,
    [[caption, [t.to_dict() for t in triplets]] for caption, triplets in TRIPLETS_EXAMPLES],
    STATES_SYSTEM,
    [[caption, list(states)] for caption, _, states in STATES_EXAMPLES],
)
"""All parts of the prompts, for a digest of their version."""


@dataclass(frozen=True)
class BatchEndpoint(Endpoint):
    """Endpoint of a model that answers about many captions in one reply."""

    max_tokens: int = 4000
    """Most tokens of one reply. 20 captions take up to about 3,000; raise it with the batch."""


@dataclass(frozen=True)
class Requests:
    """Options of the requests about captions."""

    batch: int = 20
    """Captions in one request. 20 save tokens of the prompt; lower it for small models."""
    states: Literal["model", "templates"] = "model"
    """Writer of the states. `model`: a second request for each batch. `templates`: no request, less variety."""
