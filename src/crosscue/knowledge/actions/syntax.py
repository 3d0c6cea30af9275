"""Navigation in a dependency parse: subjects, joined nouns, prepositions with their places, noun phrases."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from crosscue.knowledge.actions import english

if TYPE_CHECKING:
    from spacy.tokens import Token

PLACES = english.words("front top side sides edge middle back end bottom corner center centre base rear inside outside")
"""Nouns inside a preposition: `in the middle of`."""
JOINED = ("conj", "xcomp", "advcl", "ccomp", "pcomp", "dep")
"""Relations of a verb that shares the subject of its head."""


def subjects_of(verb: Token, seen: frozenset[int] = frozenset()) -> list[Token]:
    """Returns the actors of a verb: its subject, the noun it modifies, or the subject of the verb it is joined to.

    Args:
        verb: a verb of a parse.
        seen: indices of the verbs already followed.
    """
    if verb.i in seen:
        return []
    named = children(verb, "nsubj", "nsubjpass")
    if named and not all(lower(noun) in english.RELATIVES for noun in named):
        return nouns_of(named)
    objects = children(verb.head, "dobj") if verb.dep_ == "xcomp" else []
    if helped := [noun for noun in objects if lower(noun) in english.ANIMATE]:  # helps a child to climb
        return helped
    if verb.dep_ in ("acl", "relcl") or (verb.head.pos_ in ("NOUN", "PROPN") and verb.dep_ != "ROOT"):
        return nouns_of(_modified(verb.head))
    if verb.dep_ in JOINED and verb.head.pos_ in ("VERB", "AUX", "ADP", "ADJ", "SCONJ"):
        return subjects_of(verb.head, seen | {verb.i})
    return []


def _modified(noun: Token) -> list[Token]:
    """Returns the actors of a participle behind a noun.

    They are both nouns of `a man and a woman looking`, and the wearer of `a man in a hat looking`.
    """
    if lower(noun) in english.CLOTHING and noun.dep_ in ("pobj", "conj"):
        wearer = next((above for above in noun.ancestors if lower(above) in english.ANIMATE), None)
        return [wearer if wearer is not None else noun]
    if noun.dep_ == "conj" and noun.head.pos_ in ("NOUN", "PROPN") and lower(noun) in english.ANIMATE:
        return [*_modified(noun.head), noun]
    return [noun]


def catenative(token: Token) -> bool:
    """Returns true for a verb that leads to another one: `tries to catch`."""
    return token.pos_ == "VERB" and token.lemma_ in english.CATENATIVE


def infinitives(verb: Token) -> list[Token]:
    """Returns the verbs behind `to` that complete a verb."""
    return [child for child in children(verb, "xcomp") if any(lower(aux) == "to" for aux in children(child, "aux"))]


def nouns_of(nouns: Iterable[Token]) -> list[Token]:
    """Returns nouns with those joined to them by `and`. A pronoun is replaced by the one noun it can stand for, or left out."""
    found: list[Token] = []
    for noun in nouns:
        for each in dict.fromkeys((noun, *_joined(noun))):
            meant = _meant(each) if each.pos_ == "PRON" else each
            if meant is not None and lower(meant) not in ("there",) and not without_any(meant):
                found.append(meant)
    return list(dict.fromkeys(found))


def _joined(noun: Token) -> Iterator[Token]:
    for child in noun.children:
        if child.dep_ == "conj" and child.pos_ in ("NOUN", "PROPN"):
            yield child
            yield from _joined(child)


def _meant(pronoun: Token) -> Token | None:
    before = [
        token
        for token in pronoun.doc[: pronoun.i]
        if token.pos_ in ("NOUN", "PROPN") and lower(token) in english.ANIMATE
    ]
    return before[0] if len({lower(token) for token in before}) == 1 else None


def places_of(head: Token) -> Iterator[tuple[str, Token]]:
    """Yields (preposition, noun) for the prepositions of a word. `in front of`, `next to` and `out of` are one preposition."""
    for child in head.children:
        if child.dep_ == "prep" or (child.dep_ == "advmod" and lower(child) in ("next", "out", "close", "away")):
            yield from _reached(child, lower(child))


def _reached(preposition: Token, text: str) -> Iterator[tuple[str, Token]]:
    for inner in children(preposition, "prep"):
        yield from _reached(inner, f"{text} {lower(inner)}")
    for noun in children(preposition, "pobj"):
        of = next((child for child in children(noun, "prep") if lower(child) == "of"), None)
        if of is not None and lower(noun) in PLACES:
            article = "the " if any(lower(child) == "the" for child in noun.children) else ""
            yield from _reached(of, f"{text} {article}{lower(noun)} of")
        else:
            yield from ((text, each) for each in nouns_of([noun]) if each.pos_ in ("NOUN", "PROPN", "ADJ", "NUM"))


def phrase(noun: Token) -> str:
    """Returns a noun with its compounds; the phrase of `a group of people` is `people`."""
    if noun.lemma_ in english.OF_GROUP:
        inner = [each for of in children(noun, "prep") if lower(of) == "of" for each in children(of, "pobj")]
        if inner:
            return phrase(inner[0])
    compounds = [lower(child) for child in noun.children if child.dep_ == "compound" and child.i < noun.i]
    return " ".join((*compounds[-2:], lower(noun)))


def adjectives_of(noun: Token) -> Iterator[Token]:
    """Yields the adjectives before a noun, without numbers and determiners."""
    for child in children(noun, "amod"):
        if child.pos_ != "NUM" and lower(child) not in english.NUMBERS and lower(child) not in english.DETERMINERS:
            yield child
            yield from children(child, "conj")


def gerund(verb: Token) -> str:
    """Returns the -ing form of a verb."""
    if verb.tag_ == "VBG":
        return lower(verb)
    return english.gerund(english.base_of(lower(verb)) or verb.lemma_.lower())


def passive(verb: Token) -> bool:
    """Returns true for the participle of a passive: `chased by`, `parked on`."""
    if any(child.dep_ in ("nsubjpass", "auxpass", "agent") for child in verb.children):
        return True
    return verb.tag_ == "VBN" and not any(child.lemma_ == "have" for child in children(verb, "aux"))


def negated(token: Token) -> bool:
    """Returns true for a word with `not`."""
    return any(child.dep_ == "neg" for child in token.children)


def without_any(noun: Token) -> bool:
    """Returns true for a noun with `no` or `neither`."""
    return any(child.dep_ == "det" and lower(child) in ("no", "neither") for child in noun.children)


def children(token: Token, *relations: str) -> list[Token]:
    """Returns the words that depend on a word by one of the relations."""
    return [child for child in token.children if child.dep_ in relations]


def lower(token: Token) -> str:
    """Returns a word in lower case."""
    return str(token.text).lower()
