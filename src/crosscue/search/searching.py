"""Search in one space of a collection: by vector, by words, or both; with the line of likely results and without copies."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from crosscue.data.pairs import ImageFile
from crosscue.encoding.line import Line
from crosscue.encoding.query import EmbeddedQuery, Term, embedded
from crosscue.errors import CollectionError, DataError, MethodError, OptionError, suggestion
from crosscue.search.background import SAME, Background
from crosscue.search.candidates import ROWS, Candidates, candidates, lance, rows_needed, rows_of
from crosscue.search.fusion import fused, matched_field
from crosscue.search.grouping import leaders
from crosscue.search.hits import Hit, Hits
from crosscue.search.known import Known, known_of, version_of
from crosscue.search.request import Request
from crosscue.search.schema import require_vectors

if TYPE_CHECKING:
    from crosscue.encoding.encoder import Encoder, Floats
    from crosscue.search.collection import Collection

FURTHER = 8
"""Factor of the number of candidates where most of them are copies."""


class Searcher:
    """One space with the encoder of the run that made it."""

    def __init__(self, collection: Collection, encoder: Encoder, space: str | None = None) -> None:
        """Checks that the encoder belongs to the space.

        Raises:
            CollectionError: there is no such space, or another run made it.
        """
        self.collection, self.encoder = collection, encoder
        self.space = collection.space(space)
        made, own = self.space.identity, encoder.identity
        if made.run != own.run:
            raise CollectionError(
                f"collection {collection.folder}: space '{self.space.name}' was made by run {made.run[:8]} ({made.source}), and this is "
                f"{own.run[:8]} ({own.source}). Add it: crosscue index --collection {shlex.quote(str(collection.folder))} "
                f"{own.options} --name NEW"
            )
        self._known: Known | None = None

    @property
    def line(self) -> Line:
        """Limits of a likely result: those that the run's validation pairs set, else the default."""
        bank = self.encoder.bank
        return (bank.line if bank is not None else None) or Line()

    def search(self, query: Sequence[Term], request: Request | None = None) -> Hits:
        """Returns the hits of a query.

        Raises:
            OptionError: the query is empty or cancels out, or an option is wrong.
            MethodError: the method has no such re-ranking.
            DataError: an image of the query cannot be read.
            CollectionError: the table is damaged.
        """
        return self.search_embedded(lambda: embedded(query, self.encoder), words_of(query), request)

    def search_embedded(
        self, embed: Callable[[], EmbeddedQuery], words: str = "", request: Request | None = None
    ) -> Hits:
        """Returns the hits of a vector; see `search`.

        Args:
            embed: returns the vector of the query; called after the options are checked.
            words: the words of the query, if it is of words alone.
            request: options of the search.
        """
        request, started = request or Request(), time.perf_counter()
        self._check(words, request)
        vector = embed()
        require_vectors(vector.vector[None], self.space.identity.width, ["the query"])
        encoded = time.perf_counter()
        hits = self._hits(vector.vector, words, request)
        took = {"encode": encoded - started, "search": time.perf_counter() - encoded}
        cut = [f"the last {vector.truncated} word pieces were not read"] if vector.truncated else []
        return replace(hits, truncated=cut, took_ms={part: round(1e3 * value, 1) for part, value in took.items()})

    def corrects(self, words: str, request: Request) -> bool:
        """Returns True if the order of a query is corrected for hubness. The bank holds texts, so queries of words are."""
        bank = self.encoder.bank
        helps = bank is not None and bank.helps
        return bool(words) and (request.normalise == "on" or (request.normalise == "auto" and helps))

    def known(self) -> Known:
        """Returns what every query of the space needs; it is read again when the table changes."""
        table = self.collection.table(self.space.name)
        with lance(self.collection, self.space):
            version = version_of(table)
            if self._known is None or self._known.version != version:
                self._known = known_of(table, version, indexed=self.space.index is not None)
        return self._known

    def _check(self, words: str, request: Request) -> None:
        modes = self.encoder.rerank_modes
        if request.rerank and request.rerank not in modes:
            rest = suggestion(request.rerank, modes) if modes else " Leave --rerank out."
            raise MethodError(f"'{self.encoder.identity.method}' has no re-ranking '{request.rerank}'.{rest}")
        if (request.rerank or request.text == "only") and not words:
            option = "--rerank" if request.rerank else "--text only"
            raise OptionError(
                f"{option} needs words. Give a query without images and minus signs, or leave {option} out."
            )

    def _hits(self, vector: Floats, words: str, request: Request, tries: int = 3) -> Hits:
        corrects = self.corrects(words, request)
        known = self.known()
        searched = words if request.text != "off" and known.words else ""
        if request.text == "only" and not searched:
            raise CollectionError(
                f"{self.collection.folder}: there is no index of words. Make it: "
                f"crosscue index --collection {shlex.quote(str(self.collection.folder))}"
            )
        found = self._candidates(known, vector, searched, request, corrects=corrects)
        scores = found.scores
        by_vector = found.by_vector
        if corrects:
            corrected = scores - found.hubness
            by_vector = sorted(by_vector, key=lambda place: -corrected[place])
        order = list(fused(by_vector, found.by_words)) if found.by_words else by_vector
        again: dict[int, float] = {}
        if request.rerank:
            again = self._reranked(request.rerank, words, order[: request.top], found, scores)
            order = [*sorted(again, key=lambda place: -again[place]), *(place for place in order if place not in again)]
        background = Background.of(vector, known.sample)
        z = background.z(scores) if background else np.zeros(len(scores), np.float32)
        likely = self.line.likely(scores, z) if background else np.ones(len(scores), bool)
        likely[found.by_words] = True
        likely |= scores >= SAME  # the image of the query itself
        groups = _groups(sorted(order, key=lambda place: not likely[place]), found, request)
        count = sum(bool(likely[first]) for first, *_ in groups)
        if not request.all and count:
            groups = groups[:count]
        wanted = [found.rows[place] for group in groups for place in group]
        rows = rows_of(self.collection, self.space, wanted)
        if len(rows) < len(wanted) and tries > 1:  # changed or moved by another process since
            return self._hits(vector, words, request, tries - 1)
        ranks = {place: rank for rank, place in enumerate(by_vector, 1)}
        text_ranks = {place: rank for rank, place in enumerate(found.by_words, 1)}
        hits = []
        for group in groups:
            members = [(place, rows[found.rows[place]]) for place in group if found.rows[place] in rows]
            if not members:
                continue
            place, row = members[0]
            hits.append(
                Hit(
                    id=row["id"],
                    path=self._path(row),
                    score=round(float(scores[place]), 6),
                    z=round(float(z[place]), 3) if background else None,
                    likely=bool(likely[place]),
                    copies=[self._path(one) for _, one in members[1:]],
                    captions=list(row["captions"] or []),
                    taken=row["taken"],
                    width=row["width"] or 0,
                    height=row["height"] or 0,
                    content=row["content"] or "",
                    vector_rank=ranks.get(place),
                    text_rank=text_ranks.get(place),
                    matched=matched_field(row, words) if place in text_ranks else None,
                    reranked=again.get(place),
                )
            )
        if request.sort == "taken":
            hits.sort(key=lambda hit: (hit.likely, hit.taken or datetime.min), reverse=True)
        uncertainty = self.encoder.uncertainty(-np.sort(-scores)[:ROWS]) if len(scores) else None
        return Hits(
            hits, self.space.name, sum(hit.likely for hit in hits), background, self.line, corrects, [], uncertainty
        )

    def _candidates(self, known: Known, vector: Floats, words: str, request: Request, *, corrects: bool) -> Candidates:
        """Returns the candidates of a query; more of them where copies leave fewer than `k` images."""
        read = partial(candidates, self.collection, self.space, known, vector, words, request, corrects=corrects)
        count = rows_needed(request, corrects=corrects)
        found = read(count)
        full = len(found.by_vector) == count or len(found.by_words) == count
        if request.group and full and len(set(leaders(found.looks, request.k))) < request.k:
            found = read(FURTHER * count)
        return found

    def _reranked(
        self, mode: str, words: str, places: Sequence[int], found: Candidates, scores: Floats
    ) -> dict[int, float]:
        """Returns the new scores of some candidates; a file that cannot be read any more keeps its place behind them."""
        rows = rows_of(self.collection, self.space, [found.rows[place] for place in places])
        read: dict[int, Any] = {}
        for place in places:
            row = rows.get(found.rows[place])
            if row is not None:
                try:
                    read[place] = self.encoder.pixels.read(ImageFile(self.collection.file(row)))
                except DataError:
                    continue
        if not read:
            return {}
        kept = list(read)
        again = self.encoder.rerank(mode, words, np.stack(list(read.values())), scores[kept])
        return dict(zip(kept, again.tolist(), strict=True))

    def _path(self, row: dict[str, Any]) -> str:
        return str(self.collection.file(row))


def words_of(query: Sequence[Term]) -> str:
    """Returns the words of a query of texts alone; empty where a term is an image, or is subtracted."""
    if any(not isinstance(term.given, str) or term.weight <= 0 for term in query):
        return ""
    return " ".join(str(term.given) for term in query)


def compared(left: Hits, right: Hits) -> tuple[Hits, Hits]:
    """Returns the hits of two spaces, each with its place in the other."""
    places = [{hit.id: place for place, hit in enumerate(side, 1)} for side in (left, right)]
    sides = [
        replace(side, hits=[replace(hit, other_rank=other.get(hit.id)) for hit in side])
        for side, other in ((left, places[1]), (right, places[0]))
    ]
    return sides[0], sides[1]


def _groups(order: list[int], found: Candidates, request: Request) -> list[list[int]]:
    """Returns at most `k` groups of candidates in order; each begins with the hit that stands for its copies."""
    deep = order if request.group else order[: request.k]
    of = leaders(found.looks[deep], request.k) if request.group else range(len(deep))
    members: dict[int, list[int]] = {}
    for place, leader in zip(deep, of, strict=True):
        members.setdefault(leader, []).append(place)
    return list(members.values())[: request.k]
