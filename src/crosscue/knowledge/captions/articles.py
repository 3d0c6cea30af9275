"""a or an, by how a name is spoken."""

from __future__ import annotations

import re

SPOKEN_CONSONANT = re.compile(
    r"(?:eu|ewe|one\b|once\b|uni(?!n|m)|us[aeiu]|ut[aei]|u[bcfkqrst][aeiou]\w*\b|ur[aeiu])", re.IGNORECASE
)
SILENT_H = re.compile(r"(?:hour|honest|honou?r|heir)", re.IGNORECASE)
SPELLED = re.compile(r"[A-Z](?:[A-Z0-9]*\b|[-/.])")
VOWEL_LETTERS = frozenset("AEFHILMNORSX")
VOWEL_NUMBERS = re.compile(r"(?:8|11(?!\d)|18(?!\d))")


def article(phrase: str) -> str:
    """Returns ``a`` or ``an`` for a phrase: an hour, a unicorn, an F-16, an SUV, an 8, a Boeing 737."""
    word = phrase.lstrip("\"'“‘( ")
    if word[:1].isdigit():
        return "an" if VOWEL_NUMBERS.match(word) else "a"
    if SPELLED.match(word):
        return "an" if word[0] in VOWEL_LETTERS else "a"
    if SILENT_H.match(word):
        return "an"
    return "an" if word[:1].lower() in "aeiou" and not SPOKEN_CONSONANT.match(word) and word else "a"


def matched_case(word: str, model: str) -> str:
    """Returns a word with a capital where `model` has one."""
    return word.capitalize() if model[:1].isupper() else word
