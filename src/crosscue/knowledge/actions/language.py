"""Detection of English texts: the parser reads no others."""

from __future__ import annotations

import re
from collections.abc import Set

from crosscue.knowledge.actions import english

FUNCTION_WORDS = english.words(
    "a an the of in on with and is are at to by its it from near against under over behind beside between for while as "
    "has have that this there two one which"
)
FOREIGN = english.words(
    "der das ein eine einen einem einer und mit auf im ist sind neben vor hinter dem den des von zum "
    "le la les un une et avec dans est sont sur du au aux en pour qui que el los las uno con y del está están sobre "
    "por para il lo gli di che nel nella sul sulla um uma os com em na da dos das seu sua een het op van met de og på med "
    "er och ett av som til"
)
"""Frequent words of other languages that are no English words."""
SHARED = frozenset(["a", "as", "in", "on", "at", "an", "no", "is", "do", "so", "six", "blond", "orange", "normal"])
"""Words that several languages write alike. They are no evidence."""
SMALL = FUNCTION_WORDS | english.DETERMINERS | english.NUMBERS | english.PREPOSITIONS


def looks_english(text: str) -> bool:
    """Returns true for a text with English letters and English function words, and for a text under 6 words."""
    letters = [letter for letter in text if letter.isalpha()]
    if letters and sum(letter.isascii() for letter in letters) < 0.9 * len(letters):
        return False
    words = re.findall(r"[a-z]+", text.lower())
    return len(words) < 6 or sum(word in FUNCTION_WORDS for word in words) >= 0.1 * len(words)


def is_english(caption: str, vocabulary: Set[str]) -> bool:
    """Returns true for a caption with English letters and more English words than foreign words.

    Words that several languages share are no evidence, so a caption of a few words needs one that only English has.

    Args:
        caption: any text.
        vocabulary: base forms of English words.
    """
    words = re.findall(r"[^\W\d_]+", caption.lower())
    foreign = sum(word in FOREIGN for word in words)
    known = sum(
        word not in FOREIGN | SHARED and (word in SMALL or not vocabulary.isdisjoint(english.lemmas(word)))
        for word in words
    )
    return known > foreign and (looks_english(caption) or 2 * known >= len(words))
