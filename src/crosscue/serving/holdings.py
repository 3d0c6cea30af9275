"""The collections of a server: their spaces under one list of names, their rows, files and thumbnails."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crosscue.errors import CollectionError, CrosscueError, DataError, OptionError, suggestion
from crosscue.search.collection import FILE, Collection, open_collection
from crosscue.search.indices import unindexed_rows
from crosscue.search.spaces import Space
from crosscue.serving.failures import Refusal

log = logging.getLogger("crosscue.serving")
CONSISTENCY = 1.0
"""Seconds after which a table looks for the commits of other processes."""
IDENTIFIER = re.compile(r"[0-9a-f]{20}")


@dataclass(frozen=True)
class Place:
    """A space of a collection."""

    collection: Collection
    name: str

    @property
    def space(self) -> Space:
        """Identity, index and measured recall."""
        return self.collection.space(self.name)

    @property
    def table(self) -> Any:
        """Rows and vectors."""
        return self.collection.table(self.name)

    @property
    def count(self) -> int:
        """Number of images."""
        with answered():
            return int(self.table.count_rows())

    @property
    def unindexed(self) -> int:
        """Number of images that an index of the space lacks."""
        with answered():
            return unindexed_rows(self.table)


class Holdings:
    """Collections that are opened when first needed, and again when they come back after they were deleted."""

    def __init__(self, folders: Sequence[Path]) -> None:
        """Opens the collections.

        Args:
            folders: collections, or folders of images with a collection inside.

        Raises:
            CollectionError: one cannot be opened.
            OptionError: two have one name.
        """
        self.folders = {title_of(folder): folder for folder in folders}
        if len(self.folders) < len(folders):
            names = ", ".join(sorted(title_of(folder) for folder in folders))
            raise OptionError(f"two collections have one name: {names}. Rename a folder, or serve them apart.")
        self._opened = {name: open_collection(folder, consistency=CONSISTENCY) for name, folder in self.folders.items()}
        self._written = {name: changed_at(kept.folder / FILE) for name, kept in self._opened.items()}
        self._lock = threading.Lock()

    @property
    def names(self) -> list[str]:
        """Names of all spaces: `SPACE`, or `COLLECTION/SPACE` where there are several collections."""
        several = len(self.folders) > 1
        return [f"{title}/{name}" if several else name for title, kept in self._opened.items() for name in kept.spaces]

    def collection(self, title: str | None = None) -> Collection:
        """Returns a collection, as it is on the disk now.

        Raises:
            Refusal: no such collection (404), or it was deleted (410).
        """
        chosen = title or next(iter(self.folders), "")
        if chosen not in self.folders:
            raise Refusal(404, f"there is no collection '{chosen}'.", code="unknown_collection", param="collection")
        self._look(chosen)
        return self._opened[chosen]

    def place(self, name: str | None) -> Place:
        """Returns a space by its name in `names`; without one, the newest space of the first collection.

        Raises:
            Refusal: no such space (404), or its collection was deleted (410).
        """
        title, _, own = (name or "").rpartition("/")
        collection = self.collection(title or None)
        if name and own not in collection.spaces:
            known = suggestion(name, self.names) if self.names else ""
            raise Refusal(404, f"there is no space '{name}'.{known}", code="unknown_space", param="space")
        with answered():
            return Place(collection, collection.space(own or None).name)

    def places(self) -> list[Place]:
        """Returns all spaces.

        Raises:
            Refusal: a collection was deleted (410).
        """
        kept = [self.collection(title) for title in self.folders]
        return [Place(collection, name) for collection in kept for name in collection.spaces]

    def name_of(self, place: Place) -> str:
        """Returns the name of a space in `names`."""
        title = next(title for title, kept in self._opened.items() if kept is place.collection)
        return f"{title}/{place.name}" if len(self.folders) > 1 else place.name

    def folder(self, name: str) -> Path:
        """Returns the folder of the collection of a space in `names`."""
        title, _, _ = name.rpartition("/")
        return self._opened[title or next(iter(self.folders))].folder.resolve()

    def row(self, place: Place, image: str, columns: Sequence[str] | None = None) -> dict[str, Any]:
        """Returns the row of an image.

        Raises:
            Refusal: there is no such image (404).
        """
        if IDENTIFIER.fullmatch(image):
            with answered():
                query = place.table.search().where(f"id = '{image}'").limit(1)
                found = (query.select(list(columns)) if columns else query).to_list()
            if found:
                return dict(found[0])
        raise unknown()

    def file(self, place: Place, row: dict[str, Any]) -> Path:
        """Returns the file of an image.

        Raises:
            Refusal: the file is gone, or a link leads out of its root (404).
        """
        with answered():
            path = place.collection.file(row).resolve()
        root = place.collection.roots[row["root"]].resolve()
        if not path.is_relative_to(root) or not path.is_file():
            raise unknown()
        return path

    def _look(self, title: str) -> None:
        """Reads collection.json again where it has changed; refuses while it is gone (410)."""
        folder = self._opened[title].folder
        with self._lock:
            written = changed_at(folder / FILE)
            if written is not None:
                if written != self._written[title]:
                    with answered():
                        self._opened[title].refresh()
                    self._written[title] = written
                return
            self._written[title] = None
        message = f"the collection '{title}' is gone. Make it again: crosscue index FOLDER --run RUN"
        raise Refusal(410, message, code="collection_gone", headers={"Retry-After": "2"})


def changed_at(file: Path) -> int | None:
    """Returns the time of a file in nanoseconds, or None where it is gone."""
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return None


def title_of(folder: Path) -> str:
    """Returns the name of a collection in requests: that of its folder, or of the folder around `.crosscue`."""
    resolved = folder.resolve()
    return (resolved.parent if resolved.name == ".crosscue" else resolved).name


def unknown() -> Refusal:
    """Returns the refusal for an image that is not there; it names no path."""
    return Refusal(404, "there is no such image.", code="unknown_image", param="id")


@contextmanager
def hidden(fault: type[CrosscueError], what: str, refusal: Refusal) -> Iterator[None]:
    """Turns an error, which names paths, into a refusal that names none; the log has the error."""
    try:
        yield
    except fault as error:
        log.error("%s cannot be read: %s", what, error)
        raise refusal from error


def decoded() -> AbstractContextManager[None]:
    """Turns an image of a collection whose file is damaged into a refusal."""
    message = "the file of this image is damaged. Repair it, then run crosscue index again."
    return hidden(DataError, "an image", Refusal(415, message, code="unreadable_image", param="id"))


def answered() -> AbstractContextManager[None]:
    """Turns a collection that cannot be read into a refusal."""
    message = "the collection cannot be read now. The log of the server says why."
    return hidden(CollectionError, "a collection", Refusal(410, message, code="collection_unreadable"))
