"""Noun chunks of a tagged sentence: a noun with what stands before it."""

from __future__ import annotations

from dataclasses import dataclass

from crosscue.knowledge.actions import english
from crosscue.knowledge.actions.tagging import Word


@dataclass(slots=True)
class Chunk:
    """A noun and what stands before it: words[start:end]."""

    start: int
    end: int
    noun: str
    head: str
    adjectives: tuple[str, ...]
    governed: str = ""
    """The preposition before it; empty for subjects and objects."""
    negated: bool = False


def noun_chunks(words: list[Word]) -> list[Chunk]:
    """Returns the noun chunks: determiners, numbers, adjectives, then nouns; `a group of people` is one."""
    found: list[Chunk] = []
    index = 0
    while index < len(words):
        end = index
        while end < len(words) and words[end].tag in ("det", "num", "adj", "noun"):
            if words[end].tag in ("det", "num") and end > index and words[end - 1].tag == "noun":
                break
            end += 1
            if (
                words[end - 1].tag == "adj"
                and end + 1 < len(words)
                and words[end].text in ("and", ",")
                and words[end + 1].tag == "adj"
            ):
                end += 1  # black and white dog
        nouns = [word.text for word in words[index:end] if word.tag == "noun"]
        numbers = [word.text for word in words[index:end] if word.tag == "num"]
        if not nouns and not (numbers and end > index):
            index = max(end, index + 1)
            continue
        start = index
        group = nouns[-1] in english.OF_GROUP if nouns else False
        if group and end < len(words) and words[end].text == "of":
            inner = noun_chunks(words[end + 1 :])
            if inner and inner[0].start == 0:
                chunk = inner[0]
                end += 1 + chunk.end
                nouns, adjectives = chunk.noun.split(), chunk.adjectives
                found.append(_chunk(words, start, end, nouns, adjectives, found[-1] if found else None))
                index = end
                continue
        if nouns:
            adjectives = tuple(word.text for word in words[index:end] if word.tag == "adj")
            found.append(_chunk(words, start, end, nouns, adjectives, found[-1] if found else None))
        index = end
    return found


def _chunk(
    words: list[Word], start: int, end: int, nouns: list[str], adjectives: tuple[str, ...], joined: Chunk | None
) -> Chunk:
    before = words[start - 1] if start else Word("", "stop")
    governed = before.text if before.tag in ("prep", "to") else ""
    if (
        joined is not None
        and before.text in english.JOINING
        and joined.end == start - 1
        and nouns[-1] not in english.ANIMATE
    ):
        governed = joined.governed
    return Chunk(
        start,
        end,
        " ".join(nouns[-3:]),
        nouns[-1],
        adjectives,
        governed=governed,
        negated=words[start].text in ("no", "neither", "nor") or before.tag == "not",
    )
