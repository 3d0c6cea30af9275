"""Places of image files: spellings of one path, and the identity of a file."""

from __future__ import annotations

import os
import stat
import unicodedata
from collections import Counter
from collections.abc import Iterator
from functools import cache, cached_property
from pathlib import Path

from crosscue.source_files import at_home

IMAGE_FOLDERS = (
    *("images", "image", "img", "imgs", "flicker8k_dataset", "flickr8k_dataset", "flickr30k-images"),
    *("flickr30k_images", "flickr8k_images"),
)
"""Names of folders beside a list of captions that contain its images, in lower case."""


TEXT_FOLDERS = ("flickr8k_text", "annotations", "captions")
"""Names of folders for lists alone, in lower case: the folders of images stand beside them."""


class Locations:
    """The folder that relative paths of images start from, and the folders of images in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._real: dict[Path, str] = {}
        self._names: dict[Path, dict[str, Path]] = {}
        self.place = cache(self._place)
        """A path as it is written -> the path of the image; an image of many rows is looked for once."""
        self.is_file, self.identity = cache(is_file), cache(self._identity)

    def _place(self, written: str) -> Path:
        """Returns the first spelling that exists, or the path as it is written."""
        plain = self.folder / written
        if mode(plain) is not None:
            return plain
        found = [folder / form for form in dict.fromkeys(spellings(written)) for folder in self.folders]
        there = next((place for place in found if mode(place) is not None), None)
        return there or next(filter(None, map(self.in_other_case, found)), plain)

    def in_other_case(self, place: Path) -> Path | None:
        """Returns the one file whose name differs from that of `place` in capitals alone."""
        if place.parent not in self._names:
            names = Counter(entry.name.casefold() for entry in entries(place.parent))
            self._names[place.parent] = {
                entry.name.casefold(): entry for entry in entries(place.parent) if names[entry.name.casefold()] == 1
            }
        return self._names[place.parent].get(place.name.casefold())

    @cached_property
    def folders(self) -> list[Path]:
        """The folder, and those in it (or beside a folder of lists) that usually contain images."""
        homes = [self.folder]
        if self.folder.absolute().name.lower() in TEXT_FOLDERS:
            homes.append(self.folder.absolute().parent)
        found = homes + [entry for home in homes for entry in entries(home) if entry.name.lower() in IMAGE_FOLDERS]
        inside = [inner for entry in found for inner in entries(entry) if inner.name.lower() in IMAGE_FOLDERS]
        return list(dict.fromkeys([*found, *(inner for inner in inside if inner.is_dir())]))

    def _identity(self, path: Path) -> str:
        """Returns the path of a file without links and detours: equal for one file, different for two."""
        try:
            if path.is_symlink() or path.name in ("", ".."):
                return os.path.realpath(path)
            if path.parent not in self._real:
                self._real[path.parent] = os.path.realpath(path.parent)
            return os.path.join(self._real[path.parent], path.name)  # noqa: PTH118
        except (OSError, ValueError):
            return str(path)


def entries(folder: Path) -> list[Path]:
    """Returns what is in a folder, sorted; nothing where it cannot be listed."""
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def spellings(written: str) -> Iterator[str]:
    """Yields a path as it is written and as another system writes it: other slashes, accents, or the home folder."""
    slashed = written.strip().replace("\\", "/")
    yield from (written, slashed, unicodedata.normalize("NFC", slashed), unicodedata.normalize("NFD", slashed))
    if slashed.startswith("~"):
        yield str(at_home(Path(slashed)))


def mode(path: Path) -> int | None:
    """Returns the kind of a file and its permissions; None where there is no file, or no file can have the name."""
    try:
        return path.stat().st_mode
    except (OSError, ValueError):
        return None


def is_file(path: Path) -> bool:
    """Returns True for a regular file, also behind a link."""
    kind = mode(path)
    return kind is not None and stat.S_ISREG(kind)
