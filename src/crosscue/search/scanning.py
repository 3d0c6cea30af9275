"""A folder against a table: the images that must be read, and the rows whose files are gone."""

from __future__ import annotations

import fnmatch
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crosscue.search.schema import identifier

if TYPE_CHECKING:
    from crosscue.search.scan import Scan

SUFFIXES = frozenset(b".jpg .jpeg .jpe .jfif .png .webp .avif .gif .bmp .tif .tiff .jp2 .j2k .heic .heif .svg".split())
"""Endings of the names of files that are read; case does not matter."""
EXCLUDED = (".git", "node_modules", "@eaDir", ".crosscue")
"""Names of folders that hold no images of the user."""


@dataclass(frozen=True, slots=True)
class Item:
    """A file that looks like an image."""

    id: str
    root: str
    raw: bytes
    """Path below the root, as the disk has it."""
    size: int
    modified: int
    sidecar: str | None
    """Size and time of the caption file beside it, or the hash of its captions; see `Record.sidecar`."""


@dataclass
class Walk:
    """The files of a part of a root."""

    items: list[Item] = field(default_factory=list)
    closed: list[bytes] = field(default_factory=list)
    """Folders that could not be read. Rows below them are kept."""
    reachable: bool = True
    """False where the folder is missing, or the root has nothing in it: its disk may not be mounted."""


def walk(name: str, root: Path, under: Path, scan: Scan) -> Walk:
    """Returns the images below `root/under`, sorted by path.

    Args:
        name: name of the root.
        root: its folder.
        under: part of it, relative; `Path()` is all of it.
        scan: options.
    """
    found, top = Walk(), os.fsencode(root)
    try:
        found.reachable = bool(os.listdir(top)) and (root / under).is_dir()  # noqa: PTH208
    except OSError:
        found.reachable = False
    if not found.reachable:
        return found
    entered: set[tuple[int, int]] = set()
    waiting = [b"" if under == Path() else os.fsencode(under.as_posix())]
    links: list[bytes] = []
    while waiting or links:  # folders first: a folder that is also linked keeps its own path
        below = waiting.pop() if waiting else links.pop()
        folder = os.path.join(top, below)  # noqa: PTH118
        try:
            status = os.stat(folder)  # noqa: PTH116
            with os.scandir(folder) as listing:
                entries = {entry.name: entry for entry in listing}
        except OSError:
            found.closed.append(below)
            continue
        if (status.st_dev, status.st_ino) in entered or (b"collection.json" in entries and b"tables" in entries):
            continue
        entered.add((status.st_dev, status.st_ino))
        for entry in entries.values():
            path = below + b"/" + entry.name if below else entry.name
            if left_out(path, scan) or (entry.is_symlink() and not scan.follow_links):
                continue
            if entry.is_dir():
                (links if entry.is_symlink() else waiting).append(path)
            elif os.path.splitext(entry.name)[1].lower() in SUFFIXES and (file := _status(entry)):  # noqa: PTH122
                beside = entries.get(os.path.splitext(entry.name)[0] + b".txt")  # noqa: PTH122
                captions = _status(beside) if beside is not None else None
                note = f"{captions.st_size} {captions.st_mtime_ns}" if captions else None
                found.items.append(Item(identifier(name, path), name, path, file.st_size, file.st_mtime_ns, note))
    found.items.sort(key=lambda item: item.raw)
    return found


def left_out(path: bytes, scan: Scan) -> bool:
    """Returns True if a file or folder is excluded, by its own name or by its path below the root."""
    below = os.fsdecode(path)
    name = below.rpartition("/")[2]
    if name in EXCLUDED or (name.startswith(".") and not scan.hidden):
        return True
    return any(fnmatch.fnmatchcase(name, glob) or fnmatch.fnmatchcase(below, glob.rstrip("/")) for glob in scan.exclude)


def _status(entry: os.DirEntry[bytes]) -> os.stat_result | None:
    try:
        found = entry.stat()
    except OSError:  # a broken link, or a file that is gone again
        return None
    return found if stat.S_ISREG(found.st_mode) else None


@dataclass(frozen=True, slots=True)
class Known:
    """A row of the table."""

    root: str
    raw: bytes
    content: str
    size: int
    modified: int
    sidecar: str | None


def known_rows(table: Any) -> dict[str, Known]:
    """Returns id -> row, without vectors."""
    columns = ["id", "root", "path", "raw", "content", "size", "modified", "sidecar"]
    rows = table.search().select(columns).to_arrow()
    ids, roots, paths, raws, *rest = (rows[name].to_pylist() for name in columns)
    return {
        one: Known(root, path.encode() if raw is None else raw, *others)
        for one, root, path, raw, *others in zip(ids, roots, paths, raws, *rest, strict=True)
    }


@dataclass
class Plan:
    """The work of an indexing run before any file is read."""

    read: list[Item]
    """Files that are new, or have another size, time or sidecar than their row."""
    same: int
    gone: dict[str, Known]
    """Rows whose files are no longer there."""
    unreadable: int
    """Files that could not be read last time and have not changed."""
    kept: list[str]
    """Names of the roots that are not reachable; their rows are not in `gone`."""


def plan(
    known: Mapping[str, Known],
    walks: Mapping[tuple[str, Path], Walk],
    failures: Mapping[str, tuple[int, int]],
    *,
    unreachable_is_gone: bool = False,
) -> Plan:
    """Compares walks with the rows of a table.

    Args:
        known: rows by id.
        walks: (name of a root, part of it that was walked) -> its files.
        failures: id of an unreadable file -> its size and time.
        unreachable_is_gone: rows of a root that is not reachable count as gone.
    """
    items = {item.id: item for found in walks.values() for item in found.items}
    read, same, unreadable = [], 0, 0
    for item in items.values():
        row = known.get(item.id)
        if row is None:
            if failures.get(item.id) == (item.size, item.modified):
                unreadable += 1
            else:
                read.append(item)
        elif (row.size, row.modified, row.sidecar) == (item.size, item.modified, item.sidecar):
            same += 1
        else:
            read.append(item)
    gone, kept = {}, []
    for (name, under), found in walks.items():
        if not found.reachable and not unreachable_is_gone:
            kept.append(name)
            continue
        inside = b"" if under == Path() else os.fsencode(under.as_posix()) + b"/"
        closed = tuple(below + b"/" if below else b"" for below in found.closed)
        for one, row in known.items():
            mine = row.root == name and row.raw.startswith(inside)
            if mine and one not in items and not row.raw.startswith(closed):
                gone[one] = row
    return Plan(read, same, gone, unreadable, kept)


def too_many(known: Mapping[str, Known], gone: Mapping[str, Known]) -> Iterator[tuple[str, int, int]]:
    """Yields (root, missing images, all images) of each root that would lose more than half of its rows."""
    for root in sorted({row.root for row in gone.values()}):
        missing = sum(row.root == root for row in gone.values())
        total = sum(row.root == root for row in known.values())
        if missing > total / 2:
            yield root, missing, total
