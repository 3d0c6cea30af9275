"""Recall of parts of the queries: by category, and by the wording of a caption."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache

from crosscue.data.pairs import Pairs
from crosscue.errors import CrosscueError
from crosscue.evaluation.ranks import Ranks
from crosscue.evaluation.recall import KS, hits
from crosscue.knowledge.actions import english
from crosscue.knowledge.actions.parser import load_parser, parsed_knowledge, readable
from crosscue.knowledge.actions.record import CaptionKnowledge
from crosscue.knowledge.actions.validation import words_of

DEED, DEEDS, RELATION, ATTRIBUTE, NOTHING, NEGATION = WORDINGS = (
    "an action",
    "two actions or more",
    "a relation, no action",
    "attributes alone",
    "none of these",
    "a negation",
)
"""The second is a part of the first; a negation may be in any of them."""
REMEMBERED = 4
"""Lists of captions whose triplets are kept: the comparison with the untouched backbone reads the same list."""
NEGATING = english.NEGATIONS | {"no", "without", "none", "nobody", "nothing"}


def by_category(pairs: Pairs, i2t: Ranks, t2i: Ranks) -> dict[str, dict[str, float]]:
    """Returns category -> R@1 of both directions in percent, and the number of images."""
    hit = {"i2t": hits(i2t, 1), "t2i": hits(t2i, 1)}
    members: dict[str, dict[str, list[int]]] = defaultdict(lambda: {"i2t": [], "t2i": []})
    for caption, image in enumerate(pairs.caption_owner):
        members[pairs[image].category or ""]["t2i"].append(caption)
    for image, pair in enumerate(pairs):
        members[pair.category or ""]["i2t"].append(image)
    return {
        category: {"images": len(rows["i2t"])} | {f"{d}_r1": 100 * float(hit[d][rows[d]].mean()) for d in hit}
        for category, rows in sorted(members.items())
        if category
    }


def by_wording(captions: Sequence[str], t2i: Ranks) -> dict[str, dict[str, float]]:
    """Returns wording -> text-to-image recall of its captions in percent, and their number; empty where spaCy is absent.

    Captions that are not English are left out. `unread()` returns the reason for an empty result.
    """
    if unread():
        return {}
    members: dict[str, list[int]] = defaultdict(list)
    for index, found in enumerate(wordings(tuple(captions))):
        for wording in found:
            members[wording].append(index)
    hit = {k: hits(t2i, k) for k in KS}
    return {
        wording: {"captions": len(rows)} | {f"t2i_r{k}": 100 * float(hit[k][rows].mean()) for k in KS}
        for wording in WORDINGS
        if (rows := members[wording])
    }


def unread() -> str:
    """Returns the reason that captions cannot be read, with the command that changes it; empty where they can."""
    try:
        load_parser()
    except CrosscueError as error:
        return str(error)
    return ""


@lru_cache(maxsize=REMEMBERED)
def knowledge_of(captions: tuple[str, ...]) -> dict[str, CaptionKnowledge]:
    """Returns caption -> its triplets by spaCy; a caption that is not English is left out.

    Raises:
        CrosscueError: spaCy or its English model is not installed.
    """
    return dict(parsed_knowledge([caption for caption in dict.fromkeys(captions) if readable(caption)]))


def wordings(captions: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    """Returns the wordings of each caption; none for one that is not English.

    Raises:
        CrosscueError: spaCy or its English model is not installed.
    """
    known = knowledge_of(captions)
    return tuple(_wordings(caption, known[caption]) if caption in known else () for caption in captions)


def _wordings(caption: str, known: CaptionKnowledge) -> tuple[str, ...]:
    found = [DEED if known.deeds else RELATION if known.actions else ATTRIBUTE if known.triplets else NOTHING]
    if len(known.deeds) > 1:
        found.append(DEEDS)
    if not NEGATING.isdisjoint(words_of(caption)):
        found.append(NEGATION)
    return tuple(found)
