"""A collection: a folder with one table of vectors for each run, and the roots that its images are in.

collection.json           format, roots, and spaces with their identity, index and measured recall
tables/SPACE.lance        one row an image; SPACE.captions.lance one row a caption, where captions are embedded
thumbs/ab/CONTENT.webp    thumbnails by content, shared by all spaces
failures.jsonl            files that could not be read; they are tried again when they change

The tables can be in an object store instead; collection.json then has its address.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from crosscue.encoding.encoder import Identity
from crosscue.errors import CollectionError, suggestion
from crosscue.search.connection import connect
from crosscue.search.contents import Contents, read_contents, write_contents
from crosscue.search.refusals import FILE as FILE
from crosscue.search.refusals import refusals, unreadable
from crosscue.search.scan import Scan
from crosscue.search.schema import KEY, captions_schema, schema
from crosscue.search.spaces import Space

TABLES, THUMBNAILS, FAILURES = "tables", "thumbs", "failures.jsonl"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
"""Names of spaces, which are names of files."""


class Collection:
    """An opened collection. `refresh` reads what other processes have written since."""

    def __init__(self, folder: Path, consistency: float | None = None, store: str | None = None) -> None:
        self.folder, self.store = folder, store
        self.roots: dict[str, Path] = {}
        """Name -> absolute folder."""
        self.spaces: dict[str, Space] = {}
        self.captions_from: str | None = None
        """Source of pairs whose captions the images get (`--captions_from`)."""
        self.scan = Scan()
        """Files that are left out, and links that are followed (`--exclude`, `--hidden`, `--follow_links`)."""
        self._consistency = consistency
        self._connection: Any = None
        self._tables: dict[str, Any] = {}

    def __repr__(self) -> str:
        return f"Collection({str(self.folder)!r}, spaces={sorted(self.spaces)})"

    def __fspath__(self) -> str:
        return str(self.folder)

    @property
    def connection(self) -> Any:
        """Connection to the tables."""
        if self._connection is None:
            self._connection = connect(self.store or self.folder / TABLES, self._consistency)
        return self._connection

    def table_folder(self, name: str) -> Path | None:
        """Returns the folder of a table, where `name` is a space or `SPACE.captions`; None in an object store."""
        return None if self.store else self.folder / TABLES / f"{name}.lance"

    def has_table(self, name: str) -> bool:
        """Returns True if there is a table of this name."""
        folder = self.table_folder(name)
        if folder is not None:
            return folder.exists()
        with refusals(str(self.store)):
            return name in self.connection.table_names(limit=10_000)

    def space(self, name: str | None = None) -> Space:
        """Returns the space of a name; without one, the last that was added and is whole, or the last.

        Raises:
            CollectionError: there is no such space, or none at all.
        """
        if not self.spaces:
            raise CollectionError(
                f"{self.folder}: no space in this collection. Index images: {self._command('FOLDER')}"
            )
        if name is None:
            spaces = list(self.spaces.values())
            return next((space for space in reversed(spaces) if space.whole), spaces[-1])
        if name not in self.spaces:
            raise CollectionError(f"{self.folder}: there is no space '{name}'.{suggestion(name, self.spaces)}")
        return self.spaces[name]

    def table(self, name: str | None = None) -> Any:
        """Returns the table of a space; the same object until `refresh`.

        Raises:
            CollectionError: there is no such space, or its table cannot be opened; the message has the command that repairs it.
        """
        return self._opened(self.space(name).name)

    def captions_table(self, name: str | None = None) -> Any | None:
        """Returns the table of a space's captions, or None where no captions are embedded."""
        own = f"{self.space(name).name}.captions"
        return self._opened(own) if self.has_table(own) else None

    def _opened(self, name: str) -> Any:
        if name not in self._tables:
            try:
                self._tables[name] = self.connection.open_table(name)
            except (ValueError, RuntimeError, OSError) as error:
                raise unreadable(self.folder, self.store, name) from error
        return self._tables[name]

    def refresh(self) -> None:
        """Reads collection.json and the newest version of every table again.

        Raises:
            CollectionError: the collection is gone or damaged.
        """
        self._read()
        self._tables = {}

    def file(self, row: Mapping[str, Any]) -> Path:
        """Returns the path of an image from its columns `root`, `path` and `raw`.

        Raises:
            CollectionError: the collection has no such root.
        """
        if row["root"] not in self.roots:
            raise CollectionError(
                f"{self.folder}: there is no root '{row['root']}'.{suggestion(row['root'], self.roots)}"
            )
        below = row["path"] if row.get("raw") is None else os.fsdecode(row["raw"])
        return self.roots[row["root"]] / below

    def add_root(self, folder: Path) -> tuple[str, Path]:
        """Returns the name of the root that contains `folder`, and the path of `folder` below it; a new root is added, for `save`.

        Raises:
            CollectionError: `folder` contains a root, so its images would be indexed twice; or its path is no UTF-8.
        """
        folder = folder.resolve()
        if os.fsencode(folder).decode(errors="replace") != str(folder):
            raise CollectionError(f"{folder}: the path of this folder is no UTF-8. Rename it, and index it again.")
        for name, root in self.roots.items():
            if folder.is_relative_to(root):
                return name, folder.relative_to(root)
            if root.is_relative_to(folder):
                raise CollectionError(
                    f"{folder}: it contains {root}, which this collection has already. Index {folder} into another "
                    f"collection: crosscue index {shlex.quote(str(folder))} --collection OTHER"
                )
        stem, number = folder.name or "root", 1
        while (name := stem if number == 1 else f"{stem}-{number}") in self.roots:
            number += 1
        self.roots[name] = folder
        return name, Path()

    def add_space(self, name: str, identity: Identity) -> Space:
        """Makes an empty space, or returns the one that the same run made.

        Raises:
            CollectionError: the name is no name of a file, or another run made the space.
        """
        if not NAME.fullmatch(name):
            raise CollectionError(
                f"'{name}' is no name for a space: it must be letters, digits, - and _, at most 64. Name it with --name."
            )
        kept = self.spaces.get(name)
        if kept is not None:
            if kept.identity.run == identity.run:
                return kept
            raise CollectionError(
                f"collection {self.folder}: space '{name}' was made by run {kept.identity.run[:8]} ({kept.identity.source}), "
                f"and this is {identity.run[:8]} ({identity.source}). Add it beside with --name NEW, or replace it: "
                f"{self._command()} {identity.options} --name {name} --replace"
            )
        with refusals(str(self.table_folder(name) or self.store)):
            self.empty(name, identity.width)  # in place of what a killed process left
        return self.keep(Space(name, identity))

    def empty(self, name: str, width: int) -> None:
        """Makes the table of a space without any row, in place of any other."""
        self._drop_tables(name)
        self._make(name, schema(width))

    def remake(self, space: Space, own: str) -> None:
        """Makes one table of a space, its own or `SPACE.captions`, without any row, in place of one that cannot be read."""
        width = space.identity.width
        self._drop(own)
        self._make(own, schema(width) if own == space.name else captions_schema(width))

    def add_captions(self, name: str) -> Any:
        """Returns the table of a space's captions, which is made where it is missing."""
        kept = self.captions_table(name)
        if kept is not None:
            return kept
        return self._make(f"{name}.captions", captions_schema(self.space(name).identity.width))

    def drop_space(self, name: str) -> None:
        """Removes a space and its tables."""
        self.spaces.pop(name, None)
        self.save()
        self._drop_tables(name)

    def _drop_tables(self, name: str) -> None:
        for own in (name, f"{name}.captions"):
            self._drop(own)

    def _drop(self, own: str) -> None:
        self._tables.pop(own, None)
        self.connection.drop_table(own, ignore_missing=True)

    def _make(self, own: str, columns: Any) -> Any:
        table = self.connection.create_table(own, schema=columns)
        table.set_unenforced_primary_key(KEY)
        return table

    def keep(self, space: Space, **changes: Any) -> Space:
        """Writes a space, with changes of its fields, into collection.json and returns it."""
        self.spaces[space.name] = changed = replace(space, **changes)
        self.save()
        return changed

    def save(self) -> None:
        """Writes collection.json."""
        write_contents(self.folder, Contents(self.store, self.captions_from, self.scan, self.roots, self.spaces))

    def _read(self) -> None:
        kept = read_contents(self.folder)
        self.store, self.captions_from, self.scan = kept.store, kept.captions_from, kept.scan
        self.roots, self.spaces = kept.roots, kept.spaces

    def _command(self, folder: str = "") -> str:
        return " ".join(["crosscue index", *folder.split(), f"--collection {shlex.quote(str(self.folder))}"])


def collection_in(folder: Path) -> Path:
    """Returns a folder, or `.crosscue` in it where that is a collection and the folder is none."""
    inside = folder / ".crosscue"
    return inside if not (folder / FILE).exists() and (inside / FILE).exists() else folder


def open_collection(folder: str | Path, *, consistency: float | None = None) -> Collection:
    """Returns the collection of a folder.

    Args:
        folder: the collection, or a folder of images with `.crosscue` in it.
        consistency: seconds after which tables look for commits of other processes; None: only on `refresh`.

    Raises:
        CollectionError: there is none, it is damaged, or a newer crosscue made it.
    """
    path = Path(folder)
    if str(folder).startswith("s3:"):
        raise CollectionError(f"{folder}: only tables are there. Give the folder that was --local when they were made.")
    found = Collection(collection_in(path), consistency)
    found._read()
    return found


def create_collection(folder: str | Path, store: str | None = None) -> Collection:
    """Returns the collection of a folder, which is made where there is none.

    Args:
        folder: the collection.
        store: address of an object store for the tables, such as `s3://bucket/photos`; None: those of the collection.

    Raises:
        CollectionError: the collection has its tables elsewhere, or see `open_collection`.
    """
    path = Path(folder)
    if not (path / FILE).exists():
        made = Collection(path, store=store)
        made.save()
        return made
    kept = open_collection(path)
    if store not in (None, kept.store):
        raise CollectionError(
            f"{path}: the tables of this collection are in {kept.store or path / TABLES}, not in {store}. Give another --local."
        )
    return kept
