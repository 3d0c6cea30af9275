"""The files below a folder: images and the other names beside them, without hidden and system files."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from crosscue.data.locations import is_file
from crosscue.source_files import reading

SUFFIXES = {
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"),
    *(".avif", ".jp2", ".j2k", ".heic", ".heif"),
}
"""Endings of the names of image files."""
SYSTEM = {"__macosx", "@eadir", "thumbs.db", "desktop.ini", "$recycle.bin", "system volume information"}
"""Names that operating systems and network drives write into folders, in lower case."""


@dataclass
class Tree:
    """Images and other files below a folder."""

    folder: Path
    images: list[Path] = field(default_factory=list)
    """Image files, sorted."""
    names: dict[Path, dict[str, str]] = field(default_factory=dict)
    """Folder -> key of each other file in it (see `key_of`) -> its name."""
    ignored: list[Path] = field(default_factory=list)
    """Hidden and system files and folders."""

    def beside(self, image: Path, suffix: str) -> Path | None:
        """Returns the file with the name of an image and another suffix; capitals and forms of accents do not count."""
        name = self.names[image.parent].get(key_of(image.stem + suffix))
        return None if name is None else image.parent / name

    def alone(self, suffix: str) -> list[Path]:
        """Returns the files with a suffix that have no image beside them, sorted."""
        beside = {(image.parent, key_of(image.stem)) for image in self.images}
        files = (folder / name for folder, names in self.names.items() for name in names.values())
        return sorted(
            file for file in files if file.suffix.lower() == suffix and (file.parent, key_of(file.stem)) not in beside
        )

    def named(self, *names: str) -> Iterator[Path]:
        """Yields the files with one of `names`, sorted by their folders."""
        for folder, files in sorted(self.names.items()):
            yield from (folder / files[key] for key in map(key_of, names) if key in files)

    def notes(self) -> Iterator[str]:
        """Yields the line about ignored files, if there are any."""
        if self.ignored:
            example = min(self.ignored).relative_to(self.folder)
            yield f"{self.folder}: {len(self.ignored):,} hidden or system files and folders are ignored, such as {example}"


def tree_of(folder: Path) -> Tree:
    """Returns the files below a folder. Links to folders are followed; a folder with two ways to it is read once.

    Raises:
        DataError: a folder cannot be listed.
    """
    tree, seen = Tree(folder), set[str]()
    waiting, linked = [folder], list[Path]()
    while waiting or linked:
        place = waiting.pop() if waiting else linked.pop(0)
        real = os.path.realpath(place)
        if real in seen:
            continue
        seen.add(real)
        names = tree.names.setdefault(place, {})
        with reading(place):
            entries = sorted(os.scandir(place), key=lambda entry: entry.name)
        for entry in entries:
            path = place / entry.name
            if entry.name.startswith(".") or entry.name.lower() in SYSTEM:
                tree.ignored.append(path)
            elif _is_folder(entry):
                (linked if entry.is_symlink() else waiting).append(path)
            elif path.suffix.lower() in SUFFIXES:
                tree.images.append(path)
            elif is_file(path):  # reading a pipe or a device may never end
                names[key_of(entry.name)] = entry.name
    tree.images.sort()
    return tree


def key_of(name: str) -> str:
    """Returns a name in one form: lower case, accents joined with their letters."""
    return unicodedata.normalize("NFC", name).casefold()


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads back to itself
        return False
