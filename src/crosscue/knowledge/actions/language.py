"""Detection of English captions, which are the only ones the parser may read."""

from __future__ import annotations

import re
from collections.abc import Set

from crosscue.knowledge.actions import english
from crosscue.knowledge.language import FUNCTION_WORDS
from crosscue.knowledge.language import english as looks_english

FOREIGN = frozenset(
    re.findall(
        r"\w+",
        "der das ein eine einen einem einer und mit auf im ist sind neben vor hinter dem den des von zum "
        "le la les un une et avec dans est sont sur du au aux en pour qui que el los las uno con y del está están sobre "
        "por para il lo gli di che nel nella sul sulla um uma os com em na da dos das seu sua een het op van met de og på med "
        "er och ett av som til",
    )
)
"""Frequent words of other languages that are no English words."""
SHARED = frozenset(["a", "as", "in", "on", "at", "an", "no", "is", "do", "so", "six", "blond", "orange", "normal"])
"""Words other languages write alike: no evidence."""
SMALL = FUNCTION_WORDS | english.DETERMINERS | english.NUMBERS | english.PREPOSITIONS


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
