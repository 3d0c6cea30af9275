"""Names in texts: their places as whole words, their exchange, a or an before them."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass

SPOKEN_CONSONANT = re.compile(
    r"(?:eu|ewe|one\b|once\b|uni(?!n|m)|us[aeiu]|ut[aei]|u[bcfkqrst][aeiou]\w*\b|ur[aeiu])", re.IGNORECASE
)
SILENT_H = re.compile(r"(?:hour|honest|honou?r|heir)", re.IGNORECASE)
SPELLED = re.compile(r"[A-Z](?:[A-Z0-9]*\b|[-/.])")
VOWEL_LETTERS = frozenset("AEFHILMNORSX")
VOWEL_NUMBERS = re.compile(r"(?:8|11(?!\d)|18(?!\d))")


@dataclass(frozen=True)
class Mention:
    """A name in a text."""

    start: int
    end: int
    name: str
    """The form that matched, as `key` writes it."""
    plural: str
    """The ending of a plural, or nothing."""


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


@functools.lru_cache(maxsize=100_000)
def key(name: str) -> str:
    """Returns a name in lower case with single spaces for underscores, hyphens and spaces."""
    return " ".join(re.split(r"[\s_-]+", name.lower())).strip()


def within(part: str, whole: str) -> bool:
    """Returns True if one key is part of another as whole words."""
    return f" {part} " in f" {whole} "


def mentions(text: str, names: Iterable[str]) -> list[Mention]:
    """Returns the places of `names` in a text as whole words, singular or plural; of several at one place the longest.

    A hyphen is part of a word: ``rose`` is not in ``desert-rose``. Spaces, hyphens and underscores within a name are alike.
    """
    pattern = _pattern(frozenset(names))
    if pattern is None:
        return []
    return [
        Mention(match.start(), match.end(), key(match.group(1)), match.group(2) or "")
        for match in pattern.finditer(text)
    ]


def replaced(text: str, chosen: Iterable[Mention], name: str) -> str:
    """Returns the text with `name` at the chosen places, each once; no name is doubled, articles fit."""
    for mention in sorted(chosen, key=lambda mention: -mention.start):
        before, after = text[: mention.start], text[mention.end :]
        ending = mention.plural if not name.lower().endswith("s") else ""
        before, after = _without_overlap(before, after, name)
        begins = not before.strip() or re.search(r"[.!?][\"'”)]?\s*$", before) is not None
        text = before + (name[0].upper() + name[1:] if begins else name) + ending + after
    return repaired(text, name)


def repaired(text: str, name: str) -> str:
    """Returns the text without a doubled `name`, and with the spoken a or an before it."""
    own = r"[\s_-]+".join(map(re.escape, key(name).split()))
    text = re.sub(rf"(?<![\w-])({own})(?:\s+{own})+(?![\w-])", r"\1", text, flags=re.IGNORECASE)
    return re.sub(
        rf"(?<![\w-])(an?)(\s+)(?={own}(?:s|es)?(?![\w-]))",
        lambda match: matched_case(article(name), match.group(1)) + match.group(2),
        text,
        flags=re.IGNORECASE,
    )


def _without_overlap(before: str, after: str, name: str) -> tuple[str, str]:
    """Returns the texts before and after a name without its own words: ``Siamese [Siamese cat]`` -> ``[Siamese cat]``."""
    words = key(name).split()
    for count in range(len(words) - 1, 0, -1):
        head = re.search(
            r"(?<![\w-])" + r"[\s_-]+".join(map(re.escape, words[:count])) + r"\s+$", before, re.IGNORECASE
        )
        if head:
            before = before[: head.start()]
            break
    for count in range(len(words) - 1, 0, -1):
        tail = re.match(r"\s+" + r"[\s_-]+".join(map(re.escape, words[-count:])) + r"(?![\w-])", after, re.IGNORECASE)
        if tail:
            after = after[tail.end() :]
            break
    return before, after


@functools.lru_cache(maxsize=4096)
def _pattern(names: frozenset[str]) -> re.Pattern[str] | None:
    ordered = sorted({key(name) for name in names if key(name)}, key=lambda name: (-len(name), name))
    if not ordered:
        return None
    alternatives = "|".join(r"[\s_-]+".join(map(re.escape, name.split())) for name in ordered)
    return re.compile(rf"(?<![\w-])({alternatives})(s|es)?(?![\w-])", re.IGNORECASE)
