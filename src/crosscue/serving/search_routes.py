"""Search, comparison of two models, similar images, and why an image was found."""

from __future__ import annotations

import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from crosscue.data.pairs import ImageFile
from crosscue.encoding.query import EMPTY, EmbeddedQuery
from crosscue.encoding.words import word_effects
from crosscue.search.hits import Hits
from crosscue.search.likely import likely_images
from crosscue.search.request import Request as Options
from crosscue.search.searching import Searcher, compared
from crosscue.serving.failures import Refusal
from crosscue.serving.holdings import Holdings, Place, answered, decoded
from crosscue.serving.image_routes import RECORD, held
from crosscue.serving.logs import query_log
from crosscue.serving.service import Service
from crosscue.serving.terms import TermBody, Words, embedded, only_words, stored, terms_of
from crosscue.serving.towers import Towers

router = APIRouter(prefix="/api", tags=["search"])
MOST = 500
Space = Annotated[str | None, Field(max_length=200)]


class Query(BaseModel):
    """The terms of a search, and its place."""

    query: Words | Annotated[list[TermBody], Field(max_length=16)]
    filter: Annotated[str | None, Field(max_length=2_000)] = None
    k: Annotated[int, Field(ge=1, le=MOST)] = 20


class SearchRequest(Query):
    """Body of POST /api/search."""

    space: Space = None
    offset: Annotated[int, Field(ge=0, le=MOST)] = 0
    exact: bool = False
    text: Literal["auto", "only", "off"] = "auto"
    rerank: str | None = None
    sort: Literal["score", "taken"] = "score"
    normalise: Literal["auto", "on", "off"] = "auto"
    group: bool = True
    all: bool = True


class LikelyRequest(BaseModel):
    """Body of POST /api/likely."""

    query: Words | Annotated[list[TermBody], Field(max_length=16)]
    filter: Annotated[str | None, Field(max_length=2_000)] = None
    text: Literal["auto", "off"] = "auto"
    space: Space = None


class CompareRequest(Query):
    """Body of POST /api/compare."""

    spaces: Annotated[list[str], Field(min_length=2, max_length=2)]


class WhyRequest(BaseModel):
    """Body of POST /api/why."""

    id: str
    than: str | None = None
    """Id of another image: `prefers` then has each word with the amount that it speaks for `id` rather than for this one."""
    text: Annotated[str, Field(min_length=1, max_length=2_000)]
    space: Space = None


@router.post("/search", summary="The images that a query describes, best first")
def search(body: SearchRequest, request: Request) -> dict[str, Any]:
    """Returns the hits; `likely` ones come first, and `likely_count` says how many they are."""
    return found(request, body)


def found(request: Request, body: SearchRequest) -> dict[str, Any]:
    """Returns the answer to a search."""
    started = time.perf_counter()
    searcher, place = searcher_of(request, body.space)
    hits = searched(request, searcher, place, body, options_of(body, searcher, body.offset + body.k))
    answer = hits.to_dict()
    shown = answer["hits"][body.offset :]
    answer |= {"space": held(request, body.space)[0].name_of(place), "images": place.count}
    answer |= {"hits": [hit_shown(hit, place, request) for hit in shown], "background": background_of(hits)}
    took = 1e3 * (time.perf_counter() - started)
    answer["took_ms"]["rest"] = round(max(took - sum(hits.took_ms.values()), 0.0), 1)
    return answer


@router.post("/likely", summary="All likely images of a query, however many")
def likely(body: LikelyRequest, request: Request) -> dict[str, Any]:
    """Returns the ids and paths of at most 10,000 images, copies included, and their number."""
    searcher, place = searcher_of(request, body.space)
    terms = terms_of(body.query)
    with answered():
        vector = embedded(terms, searcher.encoder, request.app.state.holdings, place).vector
        found = likely_images(searcher, vector, only_words(terms), Options(filter=body.filter or "", text=body.text))
    absolute = request.app.state.absolute
    images = [{"id": one.id, "path": shown_path(Path(one.path), place, absolute)} for one in found]
    return {"count": len(images), "images": images}


@router.post("/compare", summary="One query with two models")
def compare(body: CompareRequest, request: Request) -> dict[str, Any]:
    """Returns the hits of both spaces, each with its place in the other. Words in captions do not count: the models are compared."""
    sides = []
    for space in body.spaces:
        searcher, place = searcher_of(request, space)
        options = Options(k=body.k, filter=body.filter or "", text="off", all=True)
        sides.append((space, place, searched(request, searcher, place, body, options)))
    both = compared(sides[0][2], sides[1][2])
    return {
        "spaces": [
            {"space": space, "hits": [hit_shown(hit, place, request) for hit in hits.to_dict()["hits"]]}
            for (space, place, _), hits in zip(sides, both, strict=True)
        ]
    }


@router.get("/images/{image}/similar", summary="Images like one of the collection")
def similar(
    image: str, request: Request, space: str | None = None, k: Annotated[int, Field(ge=1, le=100)] = 20
) -> dict[str, Any]:
    """Returns the nearest images, without the image itself."""
    searcher, place = searcher_of(request, space)
    holdings, _ = held(request, space)
    query = EmbeddedQuery(stored(holdings, place, image), 0)
    with answered():
        hits = searcher.search_embedded(lambda: query, "", Options(k=k + 1, all=True, group=False))
    shown = [hit_shown(hit, place, request) for hit in hits.to_dict()["hits"] if hit["id"] != image]
    return {"hits": shown[:k]}


@router.post("/why", summary="The places and words that moved a score")
def why(body: WhyRequest, request: Request) -> dict[str, Any]:
    """Returns the parts of the score of an image with a text."""
    holdings, place = held(request, body.space)
    if not body.text.strip():
        raise Refusal(422, EMPTY, code="empty_text", param="text")
    towers = towers_of(request, place)
    row = holdings.row(place, body.id, RECORD)
    with decoded():
        pixels = towers.pixels.read(ImageFile(holdings.file(place, row)))
    explanation = asdict(towers.explain(pixels, body.text))
    prefers = None
    if body.than is not None:
        apart = stored(holdings, place, body.id) - stored(holdings, place, body.than)  # (D,)
        prefers = word_effects(body.text, lambda texts: towers.encode_texts(texts).vectors @ apart)
    return explanation | {"places": explanation["places"].tolist(), "prefers": prefers}


def searcher_of(request: Request, space: str | None) -> tuple[Searcher, Place]:
    """Returns the searcher of a space, made anew where the space has changed.

    Raises:
        Refusal: there is no such space, or its model is not loaded.
    """
    holdings, place = held(request, space)
    kept: dict[str, Searcher] = request.app.state.searchers
    name = holdings.name_of(place)
    with answered():
        if name not in kept or kept[name].space != place.space:
            kept[name] = Searcher(place.collection, towers_of(request, place), place.name)
        return kept[name], place


def towers_of(request: Request, place: Place) -> Towers:
    """Returns the model of a space; that of a new space begins to load (503)."""
    service: Service = request.app.state.service
    holdings: Holdings = request.app.state.holdings
    name, identity = holdings.name_of(place), place.space.identity
    if request.app.state.opens is not None:
        service.take_up(name, identity.run, partial(request.app.state.opens, identity))
    return service.towers(name)


def searched(request: Request, searcher: Searcher, place: Place, body: Query, options: Options) -> Hits:
    """Returns the hits of the terms of a request."""
    terms = terms_of(body.query)
    words = " ".join(term.text for term in terms if term.text)
    holdings: Holdings = request.app.state.holdings
    query_log.info("query", extra={"fields": {"words": words}})
    with answered():
        hits = searcher.search_embedded(
            lambda: embedded(terms, searcher.encoder, holdings, place), only_words(terms), options
        )
    service: Service = request.app.state.service
    for stage, milliseconds in hits.took_ms.items():
        service.metrics.seconds.labels(request.scope["route"].path, stage).observe(milliseconds / 1e3)
    return hits


def options_of(body: SearchRequest, searcher: Searcher, k: int) -> Options:
    """Returns the options of a search.

    Raises:
        Refusal: the model has no such re-ranking (422).
    """
    modes = searcher.encoder.rerank_modes
    if body.rerank and body.rerank not in modes:
        there = f"it has {', '.join(modes)}" if modes else "it has none"
        raise Refusal(422, f"this model has no re-ranking of that name; {there}.", code="no_rerank", param="rerank")
    return Options(
        k=min(k, 2 * MOST),
        exact=body.exact,
        filter=body.filter or "",
        text=body.text,
        rerank=body.rerank,
        all=body.all,
        group=body.group,
        sort=body.sort,
        normalise=body.normalise,
    )


def background_of(hits: Hits) -> dict[str, float] | None:
    """Returns mean and spread of the query over random images, and the score from which an image is likely."""
    if hits.background is None:
        return None
    mean, spread = hits.background.mean, hits.background.spread
    return {"mean": mean, "spread": spread, "threshold": max(mean + hits.line.z * spread, hits.line.floor)}


def hit_shown(hit: dict[str, Any], place: Place, request: Request) -> dict[str, Any]:
    """Returns a hit for an answer; paths are absolute on the server's own machine and below their root elsewhere."""
    paths = [shown_path(Path(path), place, request.app.state.absolute) for path in (hit["path"], *hit["copies"])]
    return hit | {"path": paths[0], "name": Path(hit["path"]).name, "copies": paths[1:]}


def shown_path(path: Path, place: Place, absolute: bool) -> str:
    """Returns a path as an answer may hold it."""
    if absolute:
        return str(path)
    root = next((root for root in place.collection.roots.values() if path.is_relative_to(root)), path.parent)
    return path.relative_to(root).as_posix()
