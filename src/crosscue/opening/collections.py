"""Collections in Python: `crosscue.open`, with the encoders of its spaces."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crosscue.encoding.query import Term
from crosscue.errors import CollectionError
from crosscue.opening import encoder_of, open_encoder
from crosscue.search.collection import FILE, Collection, collection_in, open_collection
from crosscue.search.gain import Gain, gain
from crosscue.search.indexing import Indexing, Outcome, index, targets_of, walks_of, writing
from crosscue.search.labels import labels_of
from crosscue.search.pair_captions import captions_from
from crosscue.search.request import Request
from crosscue.search.searching import Searcher, compared
from crosscue.search.spaces import space_name
from crosscue.search.uncertainty import Uncertain, most_uncertain

if TYPE_CHECKING:
    from collections.abc import Iterable

    from crosscue.encoding.encoder import Encoder, Identity
    from crosscue.search.hits import Hits


class OpenedCollection:
    """A collection with the encoders of its spaces, which are loaded when they are needed first."""

    def __init__(self, collection: Collection, encoders: dict[str, Encoder] | None = None, **options: Any) -> None:
        """Keeps the collection.

        Args:
            collection: the collection.
            encoders: space -> its encoder, where it is loaded already.
            options: options of `open_encoder`, such as `device`.
        """
        self.collection = collection
        self._options = options
        self._encoders = dict(encoders or {})
        self._searchers: dict[str, Searcher] = {}

    def __repr__(self) -> str:
        return f"OpenedCollection({str(self.collection.folder)!r}, spaces={sorted(self.collection.spaces)})"

    def __len__(self) -> int:
        return int(self.collection.table().count_rows())

    def encoder(self, space: str | None = None) -> Encoder:
        """Returns the encoder of a space.

        Raises:
            CollectionError: there is no such space.
            RunError: its run folder is gone.
        """
        found = self.collection.space(space)
        if found.name not in self._encoders:
            self._encoders[found.name] = encoder_of(found.identity, **self._options)
        return self._encoders[found.name]

    def searcher(self, space: str | None = None) -> Searcher:
        """Returns the search in a space, by default the last that was added and is whole."""
        name = self.collection.space(space).name
        if name not in self._searchers:
            self._searchers[name] = Searcher(self.collection, self.encoder(name), name)
        return self._searchers[name]

    def search(self, query: Any, k: int = 10, space: str | None = None, **options: Any) -> Hits:
        """Returns the hits of a text, an image, or a list of texts, images and `Term`s, which are added.

        Args:
            query: a string is a text; a path, an opened image or an array is an image.
            k: number of hits.
            space: name of the space; default the last that was added and is whole.
            options: fields of `Request`, such as `filter="taken>=2024-06"`.

        Raises:
            CrosscueError: see `Searcher.search`.
        """
        return self.searcher(space).search(terms_of(query), Request(k=k, **options))

    def compare(self, query: Any, left: str, right: str, k: int = 10, **options: Any) -> tuple[Hits, Hits]:
        """Returns the hits of two spaces, each with its place in the other."""
        return compared(*(self.search(query, k, space, **options) for space in (left, right)))

    def gain(self, before: str, after: str) -> Gain:
        """Returns recall of the held-out marks in two spaces, with the interval of the difference.

        Raises:
            DataError: no held-out text has a right image.
        """
        return gain(labels_of(self.collection), self.searcher(before), self.searcher(after))

    def to_mark(self, texts: Iterable[str], number: int = 20, space: str | None = None) -> list[Uncertain]:
        """Returns those of some texts that have no marks and of which the model is least sure: marks of them teach most."""
        return most_uncertain(self.searcher(space), texts, labels_of(self.collection), number)

    def add(
        self, *folders: str | Path, run: Any = None, name: str | None = None, options: Indexing | None = None
    ) -> list[Outcome]:
        """Indexes folders, in every space or in a new one; without folders, those that are there already.

        Args:
            folders: folders of images.
            run: run folder, loaded run, export folder, or a method such as `zero_shot`, for a new space.
            name: name of that space; default the name of the run folder.
            options: options of indexing.

        Raises:
            CollectionError: there is no space and no run.
        """
        options = options or Indexing()
        with writing(self.collection.folder) as collection:
            if run is not None:
                chosen, identity, encoder = named(run, name, self._options)
                self._encoders[collection.add_space(chosen, identity).name] = encoder
            self.collection.refresh()
            if not collection.spaces:
                raise CollectionError(
                    f'{collection.folder}: no run to encode with. Name one: collection.add(FOLDER, run="zero_shot")'
                )
            walks = walks_of(collection, targets_of(collection, [Path(folder) for folder in folders]), options.scan)
            collection.save()
            captions = captions_from(collection, walks)
            outcomes = [
                index(collection, space, partial(self.encoder, space.name), walks, options, captions)
                for space in list(collection.spaces.values())
            ]
        self.collection.refresh()
        self._searchers.clear()
        return outcomes


def open(folder: str | Path, *, run: Any = None, name: str | None = None, **options: Any) -> OpenedCollection:
    """Returns the collection of a folder, ready to search and to add images to.

    Args:
        folder: the collection, or the folder of images that holds it. With `run` it is made where there is none.
        run: run folder, loaded run, export folder, or a method such as `zero_shot`, for a space that is not there yet.
        name: name of that space; default the name of the run folder.
        options: options of `open_encoder`, such as `device`.

    Raises:
        CollectionError: there is none, it is damaged, or a newer crosscue made it.
        StorageError: with `run`, another process is writing.
    """
    if run is None:
        return OpenedCollection(open_collection(folder), **options)
    place = collection_in(Path(folder))
    chosen, identity, encoder = named(run, name, options)
    if not (place / FILE).exists() or chosen not in open_collection(place).spaces:
        with writing(place) as collection:  # an indexing run would lose a space that is added beside it
            collection.add_space(chosen, identity)
    made = open_collection(place)
    made.add_space(chosen, identity)  # refuses another run
    return OpenedCollection(made, {chosen: encoder}, **options)


def named(run: Any, name: str | None, options: dict[str, Any]) -> tuple[str, Identity, Encoder]:
    """Returns the name of a run's space, the origin of its vectors, and its encoder."""
    encoder = open_encoder(run, **options)
    source = Path(encoder.identity.source)
    identity = replace(encoder.identity, source=str(source.resolve() if source.exists() else source))
    return name or space_name(str(source)), identity, encoder


def terms_of(query: Any) -> list[Term]:
    """Returns the terms of a query in Python: one text or image, a `Term`, or a list of them."""
    given = list(query) if isinstance(query, list | tuple) else [query]
    return [one if isinstance(one, Term) else Term(one) for one in given]
