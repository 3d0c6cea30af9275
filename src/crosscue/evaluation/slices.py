"""Recall of parts of the queries: by category, and by what a caption speaks of."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache

from crosscue.data.pairs import Pairs
from crosscue.evaluation.ranks import Ranks
from crosscue.evaluation.recall import KS, hits
from crosscue.knowledge.actions import english
from crosscue.knowledge.actions.language import is_english
from crosscue.knowledge.actions.rules import caption_knowledge
from crosscue.knowledge.actions.tagging import TOKEN

DEED, DEEDS, RELATION, ATTRIBUTE, NOTHING, NEGATION = WORDINGS = (
    "an action",
    "two actions or more",
    "a relation, no action",
    "attributes alone",
    "none of these",
    "a negation",
)
"""The second is a part of the first; a negation may be in any of them."""
REMEMBERED = 50_000
"""Captions that are not read again by the next validation, or by the comparison with the untouched backbone."""
NEGATING = english.NEGATIONS | {"no", "without", "none", "nobody", "nothing"}


def by_category(pairs: Pairs, i2t: Ranks, t2i: Ranks) -> dict[str, dict[str, float]]:
    """Returns category -> R@1 of both directions in percent, and the number of pictures."""
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
    """Returns what captions speak of -> text-to-image recall of these captions in percent, and their number.

    The rules of `crosscue describe triplets --backend rules` read the captions; those that are not English are left out.
    """
    members: dict[str, list[int]] = defaultdict(list)
    for number, caption in enumerate(captions):
        for wording in wordings(caption):
            members[wording].append(number)
    hit = {k: hits(t2i, k) for k in KS}
    return {
        wording: {"captions": len(rows)} | {f"t2i_r{k}": 100 * float(hit[k][rows].mean()) for k in KS}
        for wording in WORDINGS
        if (rows := members[wording])
    }


@lru_cache(maxsize=REMEMBERED)
def wordings(caption: str) -> tuple[str, ...]:
    """Returns what a caption speaks of; nothing for one that is not English."""
    if not is_english(caption):
        return ()
    known = caption_knowledge(caption)
    found = [DEED if known.deeds else RELATION if known.actions else ATTRIBUTE if known.triplets else NOTHING]
    if len(known.deeds) > 1:
        found.append(DEEDS)
    if not NEGATING.isdisjoint(TOKEN.findall(caption.lower())):
        found.append(NEGATION)
    return tuple(found)
