"""The folders of an indexing run: the place of the collection, the files, and the captions of a source of pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crosscue.errors import CollectionError

if TYPE_CHECKING:
    from crosscue.search.collection import Collection
    from crosscue.search.indexing import Target
    from crosscue.search.reading import Captions
    from crosscue.search.scan import Scan
    from crosscue.search.scanning import Walk


def place_of(given: Any, folders: Sequence[Path]) -> tuple[Path, str | None]:
    """Returns the folder of the collection, and the address of its tables where they are in an object store."""
    from crosscue.search.collection import collection_in

    if given.collection is None:
        return given.local or folders[0] / ".crosscue", None
    if "://" not in given.collection:
        if given.local is not None:
            raise CollectionError(
                f"--local is the folder of a collection in an object store, and {given.collection} is a folder. Leave one out."
            )
        return collection_in(Path(given.collection)), None
    if not given.collection.startswith("s3://"):
        raise CollectionError(
            f"{given.collection}: tables can be in a folder or behind s3://, such as s3://bucket/photos."
        )
    if given.local is None:
        raise CollectionError(
            f"{given.collection}: an object store holds the tables alone. Name a folder for the rest, such as --local my.crosscue"
        )
    return given.local, given.collection.rstrip("/")


def surveyed(
    given: Any, place: Path, folders: Sequence[Path]
) -> tuple[Collection, Mapping[Target, Walk], dict[str, Captions], list[str | None]]:
    """Returns a collection that may not be there yet, the files of its folders, their captions, and its spaces (None: a new one)."""
    from crosscue.search.collection import FILE, Collection, open_collection
    from crosscue.search.indexing import targets_of, walks_of
    from crosscue.search.pair_captions import captions_from
    from crosscue.search.spaces import space_name

    collection = open_collection(place) if (place / FILE).exists() else Collection(place)
    walks = walks_of(collection, targets_of(collection, folders), scan_of(given, collection.scan))
    name = given.name or (space_name(given.run) if given.run else None)
    names: list[str | None] = [name if name in collection.spaces else None] if name else [*collection.spaces] or [None]
    return collection, walks, captions_from(collection, walks), names


def kept_source(source: str) -> str:
    """Returns a source of pairs as the collection keeps it: a path is absolute, so that a run from another folder finds it."""
    return str(Path(source).resolve()) if Path(source).exists() else source


def scan_of(given: Any, kept: Scan) -> Scan:
    """Returns the options of a walk: those that are given, and for the others what the collection has kept."""
    chosen = {name: value for name in ("hidden", "follow_links") if (value := getattr(given, name)) is not None}
    if given.exclude is not None:
        globs = [] if given.exclude == "none" else given.exclude.split(",")
        chosen["exclude"] = tuple(glob.strip() for glob in globs if glob.strip())
    return replace(kept, **chosen)
