"""Words beside vectors: full-text search over captions, keywords and names, fused by reciprocal rank."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

K = 60
"""Constant of reciprocal rank fusion (Cormack et al., SIGIR 2009): a hit at rank r adds 1 / (K + r)."""


def fused(*rankings: Sequence[int]) -> dict[int, float]:
    """Returns the sum of 1 / (K + rank) of every candidate over rankings, best first; a ranking that lacks it adds nothing."""
    total: dict[int, float] = {}
    for ranking in rankings:
        for rank, one in enumerate(ranking, 1):
            total[one] = total.get(one, 0.0) + 1 / (K + rank)
    return dict(sorted(total.items(), key=lambda item: -item[1]))


def text_query(words: str) -> Any:
    """Returns the query of LanceDB for images whose text contains all words; stop words do not count."""
    from lancedb.query import FullTextOperator, MatchQuery

    return MatchQuery(words, "text", operator=FullTextOperator.AND)


def matched_field(row: Mapping[str, Any], words: str) -> str | None:
    """Returns caption, name or folder: what contains most of the words, by their first letters; None if none contains any.

    `row` has captions and path.
    """
    wanted = [_stem(word) for word in _words(words)]
    folder, _, name = row["path"].rpartition("/")
    counts = {}
    for field, value in {"caption": " ".join(row["captions"] or ()), "name": name, "folder": folder}.items():
        there = [_stem(word) for word in _words(value)]
        counts[field] = sum(any(word.startswith(one) for word in there) for one in wanted)
    best = max(counts, key=lambda field: counts[field])
    return best if counts[best] else None


def _words(text: str) -> list[str]:
    plain = unicodedata.normalize("NFKD", text.lower())
    return re.findall(r"[^\W_]+", "".join(letter for letter in plain if not unicodedata.combining(letter)))


def _stem(word: str) -> str:
    """Returns a word without the ending of a plural, which the index ignores too."""
    return word[:-1] if len(word) > 3 and word.endswith("s") else word
