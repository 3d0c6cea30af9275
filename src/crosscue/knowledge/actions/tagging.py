"""The class of each word of an English caption, from closed lists and from the words beside it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from crosscue.knowledge.actions import english

Tag = Literal[
    "det",
    "num",
    "adj",
    "noun",
    "pron",
    "prep",
    "to",
    "adv",
    "be",
    "aux",
    "not",
    "rel",
    "conj",
    "stop",
    "ing",
    "verb",
    "part",
]
"""ing: a verb in -ing. verb: a finite or base form. part: a past form (participle or past tense)."""

TOKEN = re.compile(r"\d+(?:[.,]\d+)*|[a-z]+(?:['’-][a-z]+)*['’]?|[,;:()]")
PHRASES = sorted(
    (p for p in english.PREPOSITIONS | english.ADVERBS | english.ING_COMPOUNDS if " " in p), key=len, reverse=True
)
PLACES = re.compile(
    r"\b(?:on|in|at|near|from|by|down|along|against|around|off) (?:the |a |his |her |their |its )?"
    r"(?:top|side|sides|edge|middle|back|front|end|bottom|corner|center|centre|base|foot|rear|inside|outside|shore|bank|banks) of\b"
)
JOINED = re.compile("|".join(rf"\b{re.escape(phrase)}\b" for phrase in PHRASES))
AFTER_SUBJECT = ("noun", "pron", "rel", "adv", "num")


@dataclass(slots=True)
class Word:
    """One word, or a fixed phrase like `in front of`."""

    text: str
    tag: Tag = "noun"


def tagged(sentence: str) -> list[Word]:
    """Returns the words of one sentence, lower case, each with its class."""
    text = PLACES.sub(
        lambda found: found.group().replace(" ", "_"), re.sub(r"\s+(?=['’]s\b)", "", sentence.lower().replace("_", " "))
    )
    text = JOINED.sub(lambda found: found.group().replace(" ", "_"), text)
    words = [
        Word(found.replace("_", " ")) for found in re.findall(rf"[a-z]+(?:[_-][a-z]+)*_[a-z_-]+|{TOKEN.pattern}", text)
    ]
    for word in words:
        word.tag = _listed(word.text)
    for index in range(len(words)):
        words[index].tag = _in_place(words, index)
    return words


def _listed(word: str) -> Tag:
    """Returns the class a word has by itself; verbs and what looks like them are left for `_in_place`."""
    for tag, members in _CLOSED:
        if word in members:
            return tag
    if not word[0].isalpha():
        return "num" if word[0].isdigit() else "stop"
    if word.endswith(("'s", "s'", "’s", "’")):
        return "det"
    if PLACES.fullmatch(word):
        return "prep"
    if word.endswith("ly") and word not in english.LY_NOUNS:
        return "adv"
    return "noun"


_CLOSED: tuple[tuple[Tag, frozenset[str]], ...] = (
    ("not", english.NEGATIONS),
    ("be", english.BE),
    ("aux", english.AUXILIARIES),
    ("rel", english.RELATIVES),
    ("det", english.DETERMINERS),
    ("num", english.NUMBERS),
    ("conj", english.CONJUNCTIONS),
    ("to", frozenset(["to"])),
    ("noun", english.ING_COMPOUNDS | english.ING_NOUNS),
    ("adv", frozenset(["up and down", "back and forth", "each other", "one another"])),
    ("prep", english.PREPOSITIONS),
    ("adj", english.ADJECTIVES),
    ("pron", english.PRONOUNS),
    ("adv", english.ADVERBS),
)


def _in_place(words: list[Word], index: int) -> Tag:
    """Returns the class of a word beside its neighbours, those before it being decided."""
    word = words[index]
    before = words[index - 1] if index else Word("", "stop")
    after = words[index + 1] if index + 1 < len(words) else Word("", "stop")
    if word.text == "that":
        return "rel" if before.tag == "noun" and after.tag not in ("noun", "adj") else "det"
    if word.text == "her" and after.tag not in ("noun", "adj", "num", "ing"):
        return "pron"
    if word.tag == "adj" and word.text in english.PARTICLES and before.tag in ("verb", "ing", "part"):
        return "adv"
    if word.tag == "aux" and word.text in ("has", "have", "had") and after.tag in ("det", "adj", "num", "noun"):
        return "verb" if english.base_of(after.text) is None or not after.text.endswith("ed") else "aux"
    if word.tag == "adj":
        return "noun" if _colour_alone(words, index) else _adjective(word, before, after)
    if word.text == "building" and before.tag == "be" and after.tag in ("det", "adj", "num", "noun"):
        return "ing"
    if word.tag != "noun" or word.text in english.ING_NOUNS or " " in word.text:
        return word.tag
    if word.text.endswith("ing") and len(word.text) > 4:
        return _ing(words, index, before, after)
    return _verb_or_noun(words, index, before, after)


def _adjective(word: Word, before: Word, after: Word) -> Tag:
    """An adjective is a noun where no noun follows (dressed in black), and a verb where it stands as one (is open stays)."""
    if word.text.endswith("ing") and before.tag in ("noun", "be") and after.tag not in ("noun",):
        return "ing"
    describes = after.tag in ("noun", "adj", "num") or after.text in ("and", "or", ",") or before.tag in ("be", "adv")
    return "adj" if describes else "noun"


def _colour_alone(words: list[Word], index: int) -> bool:
    """Says whether an adjective stands for clothes, the verb coming next: `a woman dressed in black waits at ...`."""
    if index == 0 or words[index - 1].text not in ("in", "and") or index + 2 >= len(words):
        return False
    after = words[index + 1].text
    known = (
        after.endswith("s") and english.base_of(after) is not None and english.base_of(after) not in english.AMBIGUOUS
    )
    return known and words[index + 2].tag in ("prep", "det", "adv", "to")


def _ing(words: list[Word], index: int, before: Word, after: Word) -> Tag:
    """`a running dog` is described by the word, `a dog running` and `is running` do it."""
    if before.tag in ("be", "noun", "rel", "adv", "pron", "conj", "stop", "to", "not", "aux", "part", "ing"):
        opening = index == 0 and after.text in english.ANIMATE
        return "adj" if opening else "ing"
    if before.tag in ("det", "adj", "num"):
        return (
            "adj"
            if after.tag in ("noun", "adj") and not _closes(words, index + 1)
            else "ing"
            if before.tag == "num"
            else "noun"
        )
    return (
        "noun" if after.tag == "noun" and before.tag == "prep" and english.base_of(words[index].text) is None else "ing"
    )


def _closes(words: list[Word], index: int) -> bool:
    return index >= len(words) or words[index].tag == "stop"


def _verb_or_noun(words: list[Word], index: int, before: Word, after: Word) -> Tag:
    """Known verbs are verbs where a verb can stand: after a subject they agree with, after `to`, after a verb and `and`."""
    text = words[index].text
    base = english.base_of(text)
    past = text in english.PARTICIPLES or (text.endswith("ed") and len(text) > 3) or text in english.IRREGULAR
    if past:
        if before.tag in ("be", "aux") or (before.tag == "adv" and index > 1 and words[index - 2].tag in ("be", "aux")):
            return "part"
        if before.tag in ("det", "adj", "num", "prep", "conj", "stop") and after.tag in ("noun", "adj"):
            if before.tag in ("conj", "stop") and base is not None and _verb_before(words, index):
                return "part"
            return "adj" if text.endswith("ed") else "noun"
        if before.tag in AFTER_SUBJECT and (base is not None or after.tag in ("prep", "adv", "to")):
            return "noun" if text in english.AMBIGUOUS and not text.endswith("ed") and after.tag == "noun" else "part"
        if before.tag == "conj" and _verb_before(words, index):
            return "part"
        if before.tag in ("stop", "conj") and base is not None and after.tag in ("prep", "adv"):
            return "part"
        if text.endswith("ed") and base is None:
            return "noun"
    if base is None:
        return "noun"
    if before.tag in ("to", "aux") and text == base:
        return "verb"
    finite = text.endswith("s") and text != base
    if before.tag in ("conj", "adv") and _verb_before(words, index) and after.tag != "be":
        agrees = finite if _finite_before(words, index) else False
        agrees = agrees or (text == base and any(word.tag == "to" for word in words[:index]))
        return "verb" if agrees and after.tag in ("det", "prep", "adv", "stop", "num", "adj", "to", "pron") else "noun"
    if before.text == "," and finite and not _verb_before(words, index) and after.tag in ("det", "prep", "adv"):
        return "verb"
    predicate = finite and before.tag == "adj" and index > 1 and words[index - 2].tag == "be"  # a hen that is wet walks
    if not predicate and before.tag not in ("noun", "rel", "pron") and not (before.tag == "adv" and not finite):
        return "noun"
    if _finite_in_clause(words, index) and before.tag != "rel":
        return "noun"
    several = english.plural(before.text) or before.tag in ("rel", "pron") or _joined_subject(words, index)
    if not (finite if not several else (not finite or before.tag in ("rel", "pron") or text not in english.AMBIGUOUS)):
        return "noun"
    if several and not finite and after.tag == "noun" and before.tag == "noun":
        return "verb"
    follows = after.tag in ("det", "prep", "adv", "num", "adj", "to", "pron", "stop", "conj") or after.text.endswith(
        "ing"
    )
    if text in english.AMBIGUOUS:
        return (
            "verb"
            if (follows and after.tag not in ("stop", "conj")) or (finite and index == len(words) - 1)
            else "noun"
        )
    return "verb" if follows or after.tag == "noun" else "noun"


def _verb_before(words: list[Word], index: int) -> bool:
    return any(word.tag in ("verb", "ing", "part") for word in words[:index])


def _finite_before(words: list[Word], index: int) -> bool:
    return any(word.tag == "verb" for word in words[:index])


def _finite_in_clause(words: list[Word], index: int) -> bool:
    """Says whether the clause has its finite verb already; `and`, a comma, `while` begin another one."""
    found = False
    for word in reversed(words[:index]):
        if word.tag == "rel":
            return False  # the verb that was found is that of the relative clause
        if word.tag in ("conj", "stop"):
            return found
        found = found or word.tag in ("verb", "be")
    return found


def _joined_subject(words: list[Word], index: int) -> bool:
    """Says whether the words before are `a man and a woman`, with no verb yet."""
    return any(word.text in english.JOINING for word in words[:index]) and not _verb_before(words, index)
