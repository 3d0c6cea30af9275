"""Validation of triplets and states against their caption, word by word."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from crosscue.knowledge.actions import english
from crosscue.knowledge.actions.record import Triplet

MOST = 8
"""Most triplets of a caption."""
LONGEST = 6
"""Most words of a subject, an action or an object."""
STATE_WORDS = (8, 30)
"""Fewest and most words of a state."""
MARKUP = re.compile(r"https?://|www\.|[<>{}\[\]#*`|_]")
SMALL = (
    english.DETERMINERS | english.PREPOSITIONS | english.PARTICLES | english.CONJUNCTIONS | english.BE | english.NUMBERS
)
WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")


def words_of(text: str) -> list[str]:
    """Returns the words of a text in lower case."""
    return WORD.findall(text.lower())


def triplet_problem(triplet: Triplet, caption: str) -> str:
    """Returns the fault of a triplet, in words for its writer; empty if there is none."""
    subject, action, thing = words_of(triplet.subject), words_of(triplet.action), words_of(triplet.object)
    shown = f"({triplet.subject}, {triplet.action}, {triplet.object})"
    if not 1 <= len(subject) <= LONGEST or not 1 <= len(action) <= LONGEST or len(thing) > LONGEST:
        return f"{shown}: subject and action need 1 to {LONGEST} words, the object at most {LONGEST}"
    if MARKUP.search(f"{triplet.subject} {triplet.action} {triplet.object}"):
        return f"{shown}: plain words only"
    if triplet.kind == "attribute" and not thing:
        return f"{shown}: an attribute needs an object"
    if subject == thing and words_of(caption).count(subject[-1]) < 2:
        return f"{shown}: subject and object are one and the same"
    known = _forms(words_of(caption))
    for word in (*subject, *thing):
        if word not in SMALL and not (english.lemmas(word) & known):
            return f"{shown}: '{word}' is not in the caption"
    verb = action[0]
    if verb not in english.BE and verb not in english.PREPOSITIONS and not (english.lemmas(verb) & known):
        return f"{shown}: '{verb}' is not in the caption"
    return ""


def state_problem(state: str) -> str:
    """Returns the fault of a state; empty if there is none."""
    count = len(words_of(state))
    fewest, most = STATE_WORDS
    if not fewest <= count <= most:
        return f"{count} words; write {fewest} to {most}"
    return "no markup or addresses" if MARKUP.search(state) else ""


def invents(state: str, caption: str) -> str:
    """Returns a person or animal of the state that is not in the caption; empty if there is none."""
    known = _forms(words_of(caption))
    return next((word for word in words_of(state) if word in english.ANIMATE and not english.lemmas(word) & known), "")


def deduplicated(triplets: Iterable[Triplet]) -> tuple[Triplet, ...]:
    """Returns each triplet once, in order."""
    return tuple(dict.fromkeys(triplets))


def without_pronouns(triplets: Sequence[Triplet]) -> tuple[Triplet, ...]:
    """Returns triplets without pronoun subjects: replaced by the one noun that fits, or dropped if several do."""
    nouns = {
        t.subject
        for t in triplets
        if t.subject in english.ANIMATE or (words_of(t.subject)[-1:] and words_of(t.subject)[-1] in english.ANIMATE)
    }
    found = []
    for triplet in triplets:
        if triplet.subject.lower() not in english.PRONOUNS:
            found.append(triplet)
        elif len(nouns) == 1:
            found.append(Triplet(next(iter(nouns)), triplet.action, triplet.object, triplet.kind))
    return tuple(found)


def _forms(words: Iterable[str]) -> frozenset[str]:
    parts = [part for word in words for part in (word, *word.split("-"), word.removesuffix("'s"))]
    return frozenset().union(*(english.lemmas(part) for part in parts), ())
