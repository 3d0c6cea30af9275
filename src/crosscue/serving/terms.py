"""Terms of a query in a request: words, an image inside the request, or an image of the collection."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import BaseModel, Field

from crosscue.encoding.query import EMPTY, EmbeddedQuery, combined
from crosscue.errors import OptionError
from crosscue.serving.data_urls import image_of
from crosscue.serving.failures import Refusal
from crosscue.serving.holdings import Holdings, Place

if TYPE_CHECKING:
    from crosscue.encoding.encoder import Encoder, Floats

LONGEST = 100_000
"""Most characters of a text."""
UNREADABLE = "a zero byte or half a character. Remove it."
Words = Annotated[str, Field(max_length=LONGEST)]


class TermBody(BaseModel):
    """One term of a query: words, a data: URL, or the id of an image of the collection."""

    weight: Annotated[float, Field(ge=-100, le=100, allow_inf_nan=False)] = 1.0
    text: Words | None = None
    image: str | None = None
    id: str | None = None


def terms_of(query: str | list[TermBody]) -> list[TermBody]:
    """Returns the terms of a query.

    Raises:
        Refusal: there is none, or one has not exactly one of text, image and id, or cannot be read (422).
    """
    terms = [TermBody(text=query)] if isinstance(query, str) else query
    for term in terms:
        if sum(part is not None for part in (term.text, term.image, term.id)) != 1:
            message = "each term of query needs one of text, image and id."
            raise Refusal(422, message, code="bad_term", param="query")
    if not terms or any(term.text is not None and not term.text.strip() for term in terms):
        raise Refusal(422, EMPTY, code="empty_query", param="query")
    if any(unreadable(term.text or "") for term in terms):
        raise Refusal(422, f"query contains {UNREADABLE}", code="bad_text", param="query")
    return terms


def unreadable(text: str) -> bool:
    """Returns True for a text with a zero byte or with half of a surrogate pair."""
    return re.search("[\x00\ud800-\udfff]", text) is not None


def only_words(terms: list[TermBody]) -> str:
    """Returns the words of terms that are all words with a weight above 0; empty for others."""
    if any(term.text is None or term.weight <= 0 for term in terms):
        return ""
    return " ".join(term.text for term in terms if term.text)


def embedded(terms: list[TermBody], encoder: Encoder, holdings: Holdings, place: Place) -> EmbeddedQuery:
    """Returns the vector of some terms. An image of the collection costs no encoding.

    Raises:
        Refusal: the terms cancel out (422), or an image is none (400, 413, 415) or unknown (404).
    """
    vectors = np.empty((len(terms), encoder.identity.width), np.float32)
    texts = [index for index, term in enumerate(terms) if term.text is not None]
    truncated = 0
    if texts:
        read = encoder.encode_texts([terms[index].text or "" for index in texts])
        vectors[texts], truncated = read.vectors, int(read.truncated.sum())
    for index, term in enumerate(terms):
        if term.image is not None:
            vectors[index] = encoder.encode_images(encoder.pixels.read(image_of(term.image, "query"))[None])[0]
        elif term.id is not None:
            vectors[index] = stored(holdings, place, term.id)
    weights = [term.weight for term in terms]
    try:
        return EmbeddedQuery(combined(vectors, weights), truncated)
    except OptionError as error:
        raise Refusal(422, str(error), code="zero_query", param="query") from error


def stored(holdings: Holdings, place: Place, image: str) -> Floats:
    """Returns (D,) the vector of an image of the collection."""
    return np.asarray(holdings.row(place, image, ["id", "vector"])["vector"], np.float32)
