"""Queries: texts and images with weights, and the algebra that makes one vector of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from crosscue.data.stream import Given, as_image
from crosscue.errors import OptionError

if TYPE_CHECKING:
    from crosscue.encoding.encoder import Encoder, Floats

EMPTY = "say what to look for: words, or an image."
CANCELLED = "the terms cancel out. Change a weight, or leave a term out."
SMALLEST = 1e-6
"""Length below which a sum of unit vectors counts as zero."""
HEAVIEST = 1_000_000
"""Largest weight of a term."""
WEIGHT = re.compile(r"(\d+(?:\.\d+)?):(?!\d)(.*)", re.S)
"""A term with its weight; `2:30` is a time, or a ratio."""
PATH = re.compile(r"(~?/|\.{1,2}/|[A-Za-z]:[\\/])")
"""Beginning of an argument that is a path."""


@dataclass(frozen=True)
class Term:
    """A text or an image of a query, and its weight."""

    given: Given
    """A text where it is a string; anything else is an image."""
    weight: float = 1.0


@dataclass(frozen=True)
class EmbeddedQuery:
    """The vector of a query."""

    vector: Floats
    """(D,) unit vector."""
    truncated: int
    """Word pieces of its texts that were not read."""


def parsed(arguments: Sequence[str]) -> list[Term]:
    """Returns the terms of a command line: `"2:golden retriever" + ./pool.jpg - fruit`.

    A `+` or `-` of its own begins a term. `N:` before a term is its weight, unless a digit follows. Words between two signs are
    one text. A term that is an existing file, or begins like a path, is an image.

    Raises:
        OptionError: there is no term, or nothing follows a sign.
    """
    terms: list[Term] = []
    words: list[str] = []
    sign = 1.0

    def close(last: bool) -> None:
        joined = " ".join(words).strip()
        if joined:
            terms.append(term(joined, sign))
        elif terms or not last or sign < 0:
            raise OptionError(f"nothing follows a + or -: {EMPTY}" if terms or sign < 0 else EMPTY)
        words.clear()

    for place, argument in enumerate(arguments):
        if argument not in ("+", "-"):
            words.append(argument)
            continue
        if words or place:
            close(last=False)
        sign = 1.0 if argument == "+" else -1.0
    close(last=True)
    if not terms:
        raise OptionError(EMPTY)
    return terms


def term(argument: str, sign: float = 1.0) -> Term:
    """Returns one term, with the weight before its colon."""
    found = WEIGHT.fullmatch(argument)
    weight, rest = (float(found[1]), found[2].strip()) if found else (1.0, argument)
    if not rest:
        raise OptionError(EMPTY)
    image = PATH.match(rest) is not None or is_file(rest)
    return Term(Path(rest).expanduser() if image else rest, sign * weight)


def is_file(name: str) -> bool:
    """Returns True if a file of this name exists; a text may be no possible name at all."""
    try:
        return Path(name).is_file()
    except (OSError, ValueError):
        return False


def embedded(query: Sequence[Term], encoder: Encoder) -> EmbeddedQuery:
    """Returns the vector of a query: the sum of weight x unit vector over its terms, as a unit vector.

    Raises:
        OptionError: the query is empty, or its terms cancel out.
        DataError: an image cannot be read.
    """
    if any(isinstance(each.given, str) and not each.given.strip() for each in query) or not query:
        raise OptionError(EMPTY)
    texts = [(each.weight, each.given) for each in query if isinstance(each.given, str)]
    images = [(each.weight, each.given) for each in query if not isinstance(each.given, str)]
    vectors, weights, truncated = [], [weight for weight, _ in (*texts, *images)], 0
    if texts:
        encoded = encoder.encode_texts([text for _, text in texts])
        vectors.append(encoded.vectors)
        truncated = int(encoded.truncated.sum())
    if images:
        pixels = [encoder.pixels.read(as_image(given, place)) for place, (_, given) in enumerate(images)]
        vectors.append(encoder.encode_images(np.stack(pixels)))
    return EmbeddedQuery(combined(np.concatenate(vectors), weights), truncated)


def combined(vectors: Floats, weights: Sequence[float]) -> Floats:
    """(T, D) unit vectors and T weights -> (D,) unit vector of their weighted sum.

    Raises:
        OptionError: the sum is zero, or too large.
    """
    if not all(abs(weight) <= HEAVIEST for weight in weights):
        raise OptionError(f"a weight is above {HEAVIEST:,}. Only ratios of weights count: give smaller ones.")
    total = np.asarray(weights, np.float32) @ vectors
    length = float(np.linalg.norm(total))
    if length < SMALLEST:
        raise OptionError(CANCELLED)
    return (total / length).astype(np.float32)
